"""Documents: files, text or URIs in for ingestion (202 means that bytes and job are on disk), looked at, removed.

A document's id may hold slashes, so `{document_id}` takes all that is left of the path. The routes below a document
come before its own: `GET /documents/a/chunks` asks for the chunks of `a`, and `GET /documents/a/content`
(document_content.py) for its bytes. A document whose id itself ends so is found in the list, with
`filter=document_id == 'a/chunks'`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from deployments.errors import (
    BrokenDocument,
    Conflict,
    InvalidFilter,
    InvalidRequest,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    StageUnavailable,
    UnknownCollection,
    Unreachable,
    UnsupportedDocument,
)
from serve_app.api.dependencies import DeadlineSeconds, DocumentId, PageSize, ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.api.routes import document_content
from serve_app.platform import document_ids
from serve_app.platform.new_document import Upload
from serve_app.schemas.base import A_TIME, FilterText, Label, Name, Wire, invalid_request
from serve_app.schemas.documents import (
    AcceptedJob,
    DeletedDocuments,
    Document,
    DocumentChunks,
    DocumentDeletion,
    DocumentFields,
    DocumentPatch,
    Documents,
    DocumentSelection,
    IfLive,
    LoneDocument,
    OfCollection,
    OfUser,
    Reader,
    UploadForm,
)
from serve_app.services.container import Services
from serve_app.services.documents import check_media_type, new_upload

router = APIRouter(tags=["documents"], route_class=CreatingRoute)

AfterDocument = Annotated[Label, Query(max_length=256, description="the `next` of the page before")]
AfterChunk = Annotated[int, Query(ge=-1, le=2**31 - 1, description="the `next` of the page before")]
M = TypeVar("M", bound=Wire)


_LISTED = {
    "id": "nn-30-18",
    "title": "Zakon o radu",
    "collection": "zakoni",
    "language": "hr",
    "user": None,
    "filename": "nn-30-18.pdf",
    "media_type": "application/pdf",
    "size": 48_211,
    "passages": 84,
    "warnings": ["2 pictures without text"],
    "metadata": {"year": 2018},
    "live": True,
    "created_at": A_TIME,
    "updated_at": A_TIME,
}
_DOCUMENT = _LISTED | {
    "version": "v000000000000017",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
_CHUNK = {"id": "p1", "position": 0, "text": "Rok je 15 dana.", "metadata": {"year": 2018, "headings": ["Žalba"]}}
_ACCEPTED = {
    "job_id": "job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c",
    "document_id": "nn-30-18",
    "documents": [{"id": "nn-30-18", "filename": ""}],
}
_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": LoneDocument.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "metadata": {"type": "string", "description": "a JSON object"},
                        "bulk": {"type": "boolean", "default": False},
                    }
                    | {name: {"type": "string"} for name in DocumentFields.model_fields if name != "metadata"},
                }
            },
        },
    },
}


@router.post(
    "/documents",
    status_code=202,
    response_model=AcceptedJob,
    responses={
        202: describe_response("Location", example=_ACCEPTED),
        **describe_errors(UnsupportedDocument, BrokenDocument, QuotaExceeded, Conflict, RateLimited, Unreachable),
    },
    openapi_extra=_OPENAPI,
)
async def accept(request: Request, response: Response, services: ServicesDep, caller: Writer) -> AcceptedJob:
    """Accept a document as JSON, by its text or its URI, or files as multipart/form-data, and queue them for indexing.

    A document that is handed in again with the same content is not indexed again, unless it failed. With new content it
    becomes a new version. The same holds if the chunk sizes of its collection have changed.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    match kind:
        case "application/json":
            body = await request.body()
            document = _validated(lambda: LoneDocument.model_validate_json(body))
            uploads, bulk = await services.documents.read_requests(caller, {"": document}), document.bulk
        case "multipart/form-data":
            uploads, bulk = await _files(request, services)
        case _:
            raise UnsupportedDocument(
                f"Content-Type is {kind or 'missing'}; send application/json or multipart/form-data"
            )
    job = await services.documents.accept(caller, uploads, bulk=bulk)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return AcceptedJob.of(job, uploads)


@router.get(
    "/documents",
    response_model=Documents,
    responses={
        200: describe_response(example={"documents": [_LISTED], "next": None}),
        **describe_errors(UnknownCollection, InvalidFilter),
    },
)
async def list_(
    services: ServicesDep,
    caller: Writer,
    limit: PageSize,
    after: AfterDocument = "",
    collection: OfCollection = None,
    user: OfUser = None,
    live: IfLive = None,
    filter: FilterText = None,
) -> Documents:
    """The tenant's documents in the order of their ids, with its users' private ones.

    `next` is the `after` of the next page. A page with a filter examines a bounded number of documents. So it may hold
    few or none, and still have a `next`.
    """
    selection = DocumentSelection(collection=collection, user=user, live=live, filter=filter)
    return Documents.model_validate(await services.documents.list(caller, selection, after=after, limit=limit))


@router.post(
    "/documents/delete",
    response_model=DeletedDocuments,
    responses={
        200: describe_response(example={"deleted": 12, "more": False}),
        **describe_errors(UnknownCollection, InvalidFilter, Overloaded),
    },
)
async def delete_chosen(
    body: DocumentDeletion, services: ServicesDep, caller: Writer, deadline_s: DeadlineSeconds
) -> DeletedDocuments:
    """Remove all documents that match.

    One of `collection`, `filter` and a `user` that is not empty is required, or `"all": true`.
    It ends when all are removed, or with the request's deadline. `more` then says that there may be more: call again.
    No search finds the documents that were counted.
    """
    return DeletedDocuments.model_validate(await services.deletion.delete_documents(caller, body, deadline_s))


@router.get(
    "/documents/{document_id:path}/chunks",
    response_model=DocumentChunks,
    responses={
        200: describe_response(example={"chunks": [_CHUNK], "next": None}),
        **describe_errors(NotFound, StageUnavailable),
    },
)
async def chunks(
    document_id: DocumentId,
    services: ServicesDep,
    caller: Writer,
    limit: PageSize,
    after: AfterChunk = -1,
    user: Reader = None,
) -> DocumentChunks:
    """The passages of a document that searches find, in its order. There are none while no version is live."""
    return DocumentChunks.of(
        *await services.documents.chunks(caller, document_id, reader=user, after=after, limit=limit)
    )


router.include_router(document_content.router)


@router.get(
    "/documents/{document_id:path}",
    response_model=Document,
    responses={200: describe_response(example=_DOCUMENT), **describe_errors(NotFound)},
)
async def get(document_id: DocumentId, services: ServicesDep, caller: Writer, user: Reader = None) -> Document:
    """A document as searches see it. While no version is live, it is shown as it was handed in last."""
    return Document.model_validate(await services.documents.get(caller, document_id, reader=user))


@router.patch(
    "/documents/{document_id:path}",
    response_model=Document,
    responses={
        200: describe_response(example=_DOCUMENT | {"metadata": {"year": 2019}}),
        **describe_errors(NotFound, Conflict, StageUnavailable, Overloaded),
    },
)
async def patch(document_id: DocumentId, body: DocumentPatch, services: ServicesDep, caller: Writer) -> Document:
    """Change a document's metadata. Nothing is embedded again.

    Searches find the old metadata or the new, never some of each. A newer version that is being indexed keeps the
    metadata with which it was handed in. The answer is 409 until a first version is live.
    """
    return Document.model_validate(await services.documents.change_metadata(caller, document_id, body.metadata))


@router.delete("/documents/{document_id:path}", status_code=204, responses=describe_errors(NotFound, Overloaded))
async def delete(document_id: DocumentId, services: ServicesDep, caller: Writer) -> None:
    """Remove a document: once this has returned, no search finds it."""
    await services.deletion.delete_document(caller, document_id)


async def _files(request: Request, services: Services) -> tuple[list[Upload], bool]:
    """The files of a form, and whether they are to go in bulk."""
    config = services.config
    try:
        form = await request.form(max_files=config.max_files, max_fields=16, max_part_size=config.max_metadata_bytes)
    except HTTPException as error:
        raise InvalidRequest(f"the multipart body cannot be read: {error.detail}") from None
    try:
        files = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        unknown = sorted(
            {name for name, part in form.multi_items() if name != "files" and isinstance(part, UploadFile)}
        )
        if unknown:
            raise InvalidRequest(f"{unknown[0]}: files go in the field `files`", field=unknown[0])
        if not files:
            raise InvalidRequest("files is empty; send at least one file in the field `files`", field="files")
        values: dict[str, Any] = {name: value for name, value in form.multi_items() if name != "files"}
        if isinstance(values.get("metadata"), str):
            values["metadata"] = _json_object(str(values["metadata"]))
        fields = _validated(lambda: UploadForm.model_validate(values))
        if len(files) > 1 and (fields.id or fields.title):
            raise InvalidRequest("id and title name one document; send one file with them, or leave them out")
        services.limits.check_metadata(fields.metadata)
        return [await _upload(file, fields) for file in files], fields.bulk
    finally:
        await form.close()


async def _upload(file: UploadFile, fields: UploadForm) -> Upload:
    """A file with its content, which the body's limit bounds, if its name and kind can be accepted."""
    try:
        filename = TypeAdapter(Name).validate_python(file.filename)
    except ValidationError:
        raise InvalidRequest("files: each file needs a name of 1 to 256 characters", field="files") from None
    data, media_type = await file.read(), file.content_type or ""
    await check_media_type(data, filename, media_type, label=f"files: {filename}", field="files")
    id = fields.id or document_ids.of_file(fields.user or "", fields.collection, filename)
    return new_upload(data, fields, id=id, filename=filename, media_type=media_type)


def _validated(parse: Callable[[], M]) -> M:
    try:
        return parse()
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False)) from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = from_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("metadata must be a JSON object", field="metadata")
    return value
