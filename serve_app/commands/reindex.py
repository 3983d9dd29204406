"""The index as a whole, and making it again."""

from __future__ import annotations

from typing import Any

from serve_app.commands.base import Call, TenantCommand, command
from serve_app.schemas.reindexing import IndexState, ReindexJob, ReindexRequest


@command("get_index")
class GetIndex(TenantCommand):
    """How many of the tenant's documents were made by another embedder, or cut otherwise, than they would be now."""

    async def run(self, call: Call) -> dict[str, Any]:
        return IndexState.model_validate(await call.services.reindexing.state(call.caller)).as_json()


@command("reindex")
class Reindex(TenantCommand, ReindexRequest):
    """Make all documents' passages again from their stored bytes, beside the live index, which answers meanwhile."""

    async def run(self, call: Call) -> dict[str, Any]:
        reindexing = call.services.reindexing
        job_id = await reindexing.start(call.caller, collection=self.collection, bulk=self.bulk)
        return ReindexJob(job_id=job_id).as_json()
