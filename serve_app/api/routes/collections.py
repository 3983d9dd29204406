"""Collections: named sets of a tenant's documents."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Response
from pydantic import Field

from deployments.errors import Conflict, UnknownCollection
from serve_app.api.dependencies import After, Caller, PageSize, ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import A_TIME, Shown, Time, answers, refusals
from serve_app.schemas import views
from serve_app.schemas.base import Next
from serve_app.schemas.documents import CollectionPatch, NewCollection, Text

router = APIRouter(tags=["collections"], route_class=CreatingRoute)
CollectionName = Annotated[Text, Path(max_length=64, examples=["zakoni"])]


class Collection(Shown):
    name: str = Field(examples=["zakoni"])
    description: str
    chunk_tokens: int | None = Field(description="size of its documents' chunks; null: the service's own")
    chunk_overlap: int | None
    documents: int = Field(description="those that searches find")
    passages: int
    created_at: Time
    updated_at: Time


class Collections(Shown):
    collections: list[Collection]
    next: Next


class FromCollection(Shown):
    documents: int
    passages: int


class RemovedCollection(Shown):
    name: str
    removed: FromCollection


_ZAKONI = {
    "name": "zakoni",
    "description": "Zakoni RH",
    "chunk_tokens": None,
    "chunk_overlap": None,
    "documents": 12,
    "passages": 840,
    "created_at": A_TIME,
    "updated_at": A_TIME,
}
_REMOVED = {"name": "zakoni", "removed": {"documents": 12, "passages": 840}}


@router.post(
    "/collections",
    status_code=201,
    response_model=Collection,
    responses={201: answers("Location", example=_ZAKONI), **refusals(Conflict)},
)
async def create(body: NewCollection, services: ServicesDep, caller: Writer, response: Response) -> dict[str, Any]:
    """Make an empty collection. (A document that names a new collection makes it too.)"""
    made = await services.collections.create(caller.tenant_id, body.name, body.description, body.sizes())
    response.headers["Location"] = f"/v1/collections/{quote(made.name)}"
    return views.collection(made)


@router.get(
    "/collections",
    response_model=Collections,
    responses={200: answers(example={"collections": [_ZAKONI], "next": None})},
)
async def list_(services: ServicesDep, caller: Caller, limit: PageSize, after: After = "") -> dict[str, Any]:
    """The tenant's collections in the order of their names; `next` is the `after` of the next page."""
    found = await services.collections.list(caller.tenant_id, after=after, limit=limit)
    return views.collections(found, limit)


@router.get(
    "/collections/{name}",
    response_model=Collection,
    responses={200: answers(example=_ZAKONI), **refusals(UnknownCollection)},
)
async def get(name: CollectionName, services: ServicesDep, caller: Caller) -> dict[str, Any]:
    """A collection, and how many documents and passages it holds."""
    return views.collection(await services.collections.get(caller.tenant_id, name))


@router.patch(
    "/collections/{name}",
    response_model=Collection,
    responses={200: answers(example=_ZAKONI), **refusals(UnknownCollection)},
)
async def patch(name: CollectionName, body: CollectionPatch, services: ServicesDep, caller: Writer) -> dict[str, Any]:
    """Change a collection. Documents are cut by new chunk sizes when they are handed in again."""
    return views.collection(await services.collections.patch(caller.tenant_id, name, body.change()))


@router.delete(
    "/collections/{name}",
    response_model=RemovedCollection,
    responses={200: answers(example=_REMOVED), **refusals(UnknownCollection)},
)
async def delete(name: CollectionName, services: ServicesDep, caller: Writer) -> dict[str, Any]:
    """Remove a collection with all its documents, and say how much that was. `default` stays."""
    return {"name": name, "removed": await services.deletion.delete_collection(caller, name)}
