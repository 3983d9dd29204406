"""The key is checked before anything of the body is read: without one, the service receives no body.

Plain ASGI. FastAPI would read and parse the body first, and then ask for the key.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import RagError, Unauthenticated
from deployments.telemetry import spans, tracing
from serve_app.api.errors import problem_of
from serve_app.api.routing import has_route
from serve_app.services.container import Services

GUARDED = ("/v1/", "/v2/", "/metrics")
PRINCIPAL = "principal"
"""Where a request's scope keeps the principal of its key."""
NO_KEY = "send the header `Authorization: Bearer <key>`"


def bearer(scope: Scope) -> str:
    """The secret of the request's key; empty where there is none."""
    scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


class Authentication:
    """Puts the Principal into the scope of each request to a route under GUARDED, or refuses it."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED) or not has_route(scope):
            # Others are answered 404 or 405, with or without a key; no body is read for that either.
            return await self.app(scope, receive, send)
        try:
            if not (secret := bearer(scope)):
                raise Unauthenticated(NO_KEY)
            address, _ = scope.get("client") or ("", 0)
            request_id = scope.get("request_id", "")
            with tracing.span(spans.AUTHENTICATION):
                scope[PRINCIPAL] = await self.services.access.authenticate(secret, request_id, address=address)
        except RagError as error:
            return await problem_of(Request(scope), error)(scope, receive, send)
        return await self.app(scope, receive, send)
