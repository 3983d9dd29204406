"""The index as a whole: how much of it was made by another embedder, or with other chunk sizes, than run now."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.errors import StageUnavailable
from serve_app.api.dependencies import ServicesDep, Writer
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.reindexing import IndexState

router = APIRouter(tags=["reindex"])

_STATE = {
    "documents": 937,
    "passages": 11_204,
    "behind": 412,
    "embedder": {"model": "all-MiniLM-L6-v2", "fingerprint": "0b3f6a5c9d7e4f1c"},
}


@router.get(
    "/reindex",
    response_model=IndexState,
    responses={200: describe_response(example=_STATE), **describe_errors(StageUnavailable)},
)
async def get(services: ServicesDep, caller: Writer) -> IndexState:
    """How many of the tenant's documents are behind: made by another embedder, or cut otherwise, than they would be
    now."""
    return IndexState.model_validate(await services.reindexing.state(caller))
