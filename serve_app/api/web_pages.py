"""What a person sees who opens the service in a browser: a page that says what it is, and one with all routes.

Nothing is loaded from other servers. Swagger UI, which shows the routes, comes inside the package of vLLM.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from deployments.errors import NotFound

_PAGES = Path(__file__).parent / "pages"
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
_CACHED_S = 3_600
_HEADERS = {
    # Swagger UI has styles in its elements, and pictures in its style sheet.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": f"public, max-age={_CACHED_S}",
}


@cache
def _folder_of_swagger_ui() -> Path:
    """Raises NotFound if the files are not here."""
    found = find_spec("vllm")  # finds the package and does not import it
    for root in (found and found.submodule_search_locations) or ():
        folder = Path(root, "entrypoints/serve/instrumentator/static")
        if all((folder / name).is_file() for name in _SWAGGER_UI):
            return folder
    raise NotFound("the files of this page come with vLLM, which is not installed here; read /openapi.json")


def _route(path: str, file: str) -> Route:
    async def serve(request: Request) -> Response:
        folder = _folder_of_swagger_ui() if file in _SWAGGER_UI else _PAGES
        return FileResponse(folder / file, headers=_HEADERS)

    return Route(path, serve, methods=["GET"])


ROUTES = (
    _route("/", "index.html"),
    _route("/docs", "docs.html"),
    _route("/favicon.ico", "favicon.ico"),
    *(_route(f"/docs/{file}", file) for file in ("page.css", "start.js", *_SWAGGER_UI)),
)
"""They need no key, and are not in the OpenAPI document."""
