"""manage_collections: a class for each action."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from serve_app.commands.base import Call, TenantCommand, command
from serve_app.schemas.base import Label, Paged, Wire
from serve_app.schemas.collections import Collection, CollectionPatch, Collections, NewCollection, RemovedCollection

manage_collections = command("manage_collections")


class _Named(Wire):
    name: Label = Field(max_length=64, examples=["zakoni"])


@manage_collections
class CreateCollection(TenantCommand, NewCollection):
    """Make an empty collection."""

    action: Literal["create"]

    async def run(self, call: Call) -> dict[str, Any]:
        collections, tenant_id = call.services.collections, call.caller.tenant_id
        collection = await collections.create(tenant_id, self.name, self.description, self.sizes())
        return Collection.model_validate(collection).as_json()


@manage_collections
class ListCollections(TenantCommand, Paged):
    """The tenant's collections in the order of their names."""

    needs = "query"
    action: Literal["list"]

    async def run(self, call: Call) -> dict[str, Any]:
        limit = call.services.limits.resolve_page_size(self.limit)
        found = await call.services.collections.list(call.caller.tenant_id, after=self.after, limit=limit)
        return Collections.page(found, limit).as_json()


@manage_collections
class GetCollection(TenantCommand, _Named):
    """A collection, and how many documents and passages it holds."""

    needs = "query"
    action: Literal["get"]

    async def run(self, call: Call) -> dict[str, Any]:
        collection = await call.services.collections.get(call.caller.tenant_id, self.name)
        return Collection.model_validate(collection).as_json()


@manage_collections
class UpdateCollection(TenantCommand, _Named, CollectionPatch):
    """Change a collection. Documents are cut by new chunk sizes when they are handed in again."""

    action: Literal["update"]

    async def run(self, call: Call) -> dict[str, Any]:
        collections, tenant_id = call.services.collections, call.caller.tenant_id
        collection = await collections.patch(tenant_id, self.name, self.change())
        return Collection.model_validate(collection).as_json()


@manage_collections
class DeleteCollection(TenantCommand, _Named):
    """Remove a collection with all its documents, and say how much that was."""

    action: Literal["delete"]

    async def run(self, call: Call) -> dict[str, Any]:
        removed = await call.services.deletion.delete_collection(call.caller, self.name)
        return RemovedCollection.model_validate({"name": self.name, "removed": removed}).as_json()
