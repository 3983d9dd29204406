"""The index as a whole."""

from __future__ import annotations

from typing import Any

from serve_app.commands.base import Call, TenantCommand, command
from serve_app.schemas.reindexing import IndexState


@command("get_index")
class GetIndex(TenantCommand):
    """How many of the tenant's documents were made by another embedder, or cut otherwise, than they would be now."""

    async def run(self, call: Call) -> dict[str, Any]:
        return IndexState.model_validate(await call.services.reindexing.state(call.caller)).as_json()
