"""Collections: named sets of a tenant's documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from serve_app import library
from serve_app.api import idempotent
from serve_app.api.access import Caller, Serving, Writer
from serve_app.api.idempotent import CreatingRoute
from serve_app.api.paging import Page
from serve_app.platform.collections import CollectionView
from serve_app.schemas import Text, Wire

router = APIRouter(tags=["collections"], route_class=CreatingRoute)
CollectionName = Annotated[str, Path(max_length=64, examples=["zakoni"])]


class NewCollection(Wire):
    name: Text = Field(max_length=64, description="1 to 64 letters, digits, _ . -", examples=["zakoni"])
    description: Text = Field("", max_length=2_000)


class CollectionPatch(Wire):
    description: Text = Field(max_length=2_000)


@router.post("/collections", status_code=201, openapi_extra=idempotent.OPENAPI)
async def create(body: NewCollection, serving: Serving, caller: Writer, response: Response) -> dict[str, Any]:
    """Make an empty collection. (A document that names a new collection makes it too.)"""
    made = await serving.collections.create(caller.tenant_id, body.name, body.description)
    response.headers["Location"] = f"/v1/collections/{made.name}"
    return wire(made)


@router.get("/collections")
async def list_(serving: Serving, caller: Caller, page: Page, after: str = Query("", max_length=64)) -> dict[str, Any]:
    """The tenant's collections in the order of their names; `next` is the `after` of the next page."""
    found = await serving.collections.list(caller.tenant_id, after=after, limit=page)
    return {"collections": [wire(each) for each in found], "next": found[-1].name if len(found) == page else None}


@router.get("/collections/{name}")
async def get(name: CollectionName, serving: Serving, caller: Caller) -> dict[str, Any]:
    """A collection, and how many documents and passages it holds."""
    return wire(await serving.collections.get(caller.tenant_id, name))


@router.patch("/collections/{name}")
async def patch(name: CollectionName, body: CollectionPatch, serving: Serving, caller: Writer) -> dict[str, Any]:
    """Change a collection's description."""
    return wire(await serving.collections.patch(caller.tenant_id, name, description=body.description))


@router.delete("/collections/{name}")
async def delete(name: CollectionName, serving: Serving, caller: Writer) -> dict[str, Any]:
    """Remove a collection with all its documents, and say how much that was. `default` stays."""
    return {"name": name, "removed": await library.delete_collection(serving, caller, name)}


def wire(collection: CollectionView) -> dict[str, Any]:
    return asdict(collection) | {
        "created_at": collection.created_at.isoformat(),
        "updated_at": collection.updated_at.isoformat(),
    }
