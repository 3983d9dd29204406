"""A document's bytes as they were handed in: whole, in part, or only what they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from deployments.errors import NotFound, RangeNotSatisfiable
from serve_app.api.answer_flow import PacedResponse
from serve_app.api.content_headers import content_headers, etag, validators
from serve_app.api.dependencies import DocumentId, ServicesDep, Writer
from serve_app.api.errors import problem_of
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.api.ranges import is_known, requested_part
from serve_app.schemas.documents import Reader
from serve_app.services.container import Services
from serve_app.storage.tables import Document

router = APIRouter(tags=["documents"])

_PATH = "/documents/{document_id:path}/content"
_DESCRIBED = ("ETag", "Accept-Ranges", "Content-Disposition", "Content-Security-Policy")
_BYTES: dict[str, Any] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_KNOWN = describe_response("ETag", description="The client has these bytes already")
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="entity tags of bytes that the client has: 304 if the document's is among them",
    ),
]
Range = Annotated[
    str | None,
    Header(
        alias="Range", description="one range of bytes; several are answered with all bytes", examples=["bytes=0-1023"]
    ),
]
IfRange = Annotated[
    str | None,
    Header(
        alias="If-Range",
        description="the entity tag of the bytes that the range is of; if it is another one by now, all are sent",
    ),
]


@router.get(
    _PATH,
    response_class=Response,
    responses={
        200: describe_response(*_DESCRIBED, content=_BYTES, description="All bytes"),
        206: describe_response(*_DESCRIBED, "Content-Range", content=_BYTES, description="A part of the bytes"),
        304: _KNOWN,
        **describe_errors(NotFound, RangeNotSatisfiable),
    },
)
async def content(
    request: Request,
    document_id: DocumentId,
    services: ServicesDep,
    caller: Writer,
    user: Reader = None,
    if_none_match: IfNoneMatch = None,
    range: Range = None,
    if_range: IfRange = None,
) -> Response:
    """A document's bytes, exactly as they were handed in. They are those of the version that searches find.

    While no version is live, they are those that were handed in last. A document that was handed in as `text` is that
    text in UTF-8. The `ETag` is the document's `sha256` in quotes. A download breaks off when its document is deleted,
    or some minutes after it was replaced.

    Text and PDF may be shown in a browser (`inline`). Everything else, HTML too, is an `attachment`.
    """
    document = await services.documents.get(caller, document_id, reader=user)
    status, headers = await _of_all_bytes(services, document, if_none_match)
    if status == 304:
        return Response(status_code=status, headers=headers)
    try:
        part = requested_part(range, if_range, etag=etag(document), size=document.size)
    except RangeNotSatisfiable as error:
        refused = problem_of(request, error)
        refused.headers["Content-Range"] = f"bytes */{document.size}"
        return refused
    start, stop = part or (0, document.size)
    if part is not None:
        headers |= {"Content-Length": str(stop - start), "Content-Range": f"bytes {start}-{stop - 1}/{document.size}"}
    return PacedResponse(services.documents.read(document, start, stop), 206 if part else 200, headers)


@router.head(
    _PATH,
    response_class=Response,
    responses={
        200: describe_response(*_DESCRIBED, description="What GET sends before the bytes"),
        304: _KNOWN,
        **describe_errors(NotFound),
    },
)
async def content_head(
    document_id: DocumentId,
    services: ServicesDep,
    caller: Writer,
    user: Reader = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The headers of a document's bytes, without the bytes. A range is not looked at."""
    document = await services.documents.get(caller, document_id, reader=user)
    status, headers = await _of_all_bytes(services, document, if_none_match)
    return Response(status_code=status, headers=headers)


async def _of_all_bytes(
    services: Services, document: Document, if_none_match: str | None
) -> tuple[int, dict[str, str]]:
    """The status and headers of an answer with all bytes: 304 if the client has them, else 200."""
    if is_known(if_none_match, etag(document)):
        return 304, validators(document)
    headers = content_headers(document, document.id, await services.documents.head(document))
    return 200, headers | {"Content-Length": str(document.size)}
