"""Collections: named sets of a tenant's documents."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Response

from deployments.errors import Conflict, Overloaded, UnknownCollection
from serve_app.api.dependencies import After, Caller, PageSize, ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.base import A_TIME, Label
from serve_app.schemas.collections import Collection, CollectionPatch, Collections, NewCollection, RemovedCollection

router = APIRouter(tags=["collections"], route_class=CreatingRoute)
CollectionName = Annotated[Label, Path(max_length=64, examples=["zakoni"])]


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
    responses={201: describe_response("Location", example=_ZAKONI), **describe_errors(Conflict)},
)
async def create(body: NewCollection, services: ServicesDep, caller: Writer, response: Response) -> Collection:
    """Make an empty collection. (A document that names a new collection makes it too.)"""
    made = await services.collections.create(caller.tenant_id, body.name, body.description, body.sizes())
    response.headers["Location"] = f"/v1/collections/{quote(made.name)}"
    return Collection.model_validate(made)


@router.get(
    "/collections",
    response_model=Collections,
    responses={200: describe_response(example={"collections": [_ZAKONI], "next": None})},
)
async def list_(services: ServicesDep, caller: Caller, limit: PageSize, after: After = "") -> Collections:
    """The tenant's collections in the order of their names; `next` is the `after` of the next page."""
    found = await services.collections.list(caller.tenant_id, after=after, limit=limit)
    return Collections.page(found, limit)


@router.get(
    "/collections/{name}",
    response_model=Collection,
    responses={200: describe_response(example=_ZAKONI), **describe_errors(UnknownCollection)},
)
async def get(name: CollectionName, services: ServicesDep, caller: Caller) -> Collection:
    """A collection, and how many documents and passages it holds."""
    return Collection.model_validate(await services.collections.get(caller.tenant_id, name))


@router.patch(
    "/collections/{name}",
    response_model=Collection,
    responses={200: describe_response(example=_ZAKONI), **describe_errors(UnknownCollection)},
)
async def patch(name: CollectionName, body: CollectionPatch, services: ServicesDep, caller: Writer) -> Collection:
    """Change a collection. New chunk sizes are for documents that are handed in from then on.

    `POST /v1/reindex` with `collection` applies them to the documents that are there.
    """
    return Collection.model_validate(await services.collections.patch(caller.tenant_id, name, body.change()))


@router.delete(
    "/collections/{name}",
    response_model=RemovedCollection,
    responses={200: describe_response(example=_REMOVED), **describe_errors(UnknownCollection, Conflict, Overloaded)},
)
async def delete(name: CollectionName, services: ServicesDep, caller: Writer) -> RemovedCollection:
    """Remove a collection with all its documents, and say how much that was. `default` stays: the answer is 409."""
    removed = await services.deletion.delete_collection(caller, name)
    return RemovedCollection.model_validate({"name": name, "removed": removed})
