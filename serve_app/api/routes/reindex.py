"""The index as a whole: how much of it is behind, and making it again beside the live one."""

from __future__ import annotations

from fastapi import APIRouter, Response

from deployments.errors import Conflict, NotFound, StageUnavailable, UnknownCollection
from serve_app.api.dependencies import ServicesDep, Writer
from serve_app.api.idempotency import CreatingRoute
from serve_app.api.openapi import describe_errors, describe_response
from serve_app.schemas.reindexing import IndexState, ReindexJob, ReindexRequest

router = APIRouter(tags=["reindex"], route_class=CreatingRoute)

_STATE = {
    "documents": 937,
    "passages": 11_204,
    "behind": 412,
    "missing": 0,
    "embedder": {"model": "all-MiniLM-L6-v2", "fingerprint": "0b3f6a5c9d7e4f1c"},
    "live_embedder": "8a2b6d5e4f3a2b1c",
    "job_id": None,
}
_ACCEPTED = {"job_id": "job_0b3f6a5c9d7e4f1c8a2b6d5e4f3a2b1c"}


@router.get(
    "/reindex",
    response_model=IndexState,
    responses={200: describe_response(example=_STATE), **describe_errors(StageUnavailable)},
)
async def get(services: ServicesDep, caller: Writer) -> IndexState:
    """How many of the tenant's documents are behind.

    A document is behind if another embedder made its vectors, or if it was cut differently than it would be now.
    """
    return IndexState.model_validate(await services.reindexing.state(caller))


@router.post(
    "/reindex",
    status_code=202,
    response_model=ReindexJob,
    responses={
        202: describe_response("Location", example=_ACCEPTED),
        **describe_errors(Conflict, NotFound, UnknownCollection, StageUnavailable),
    },
)
async def start(body: ReindexRequest, response: Response, services: ServicesDep, caller: Writer) -> ReindexJob:
    """Make all documents' passages again from their stored bytes, with the present embedder and chunk sizes.

    The live index answers meanwhile. Once the new index has every document, it takes the live one's place in one step,
    and the job succeeds. Documents that are handed in meanwhile are found as soon as they are indexed, and enter both.
    409 while a job reindexes, or if no document is indexed.

    If documents fail, the job ends and nothing changes. Delete them, or hand in other content for them. The next
    request continues where this one ended.
    """
    job_id = await services.reindexing.start(caller, collection=body.collection, bulk=body.bulk)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return ReindexJob(job_id=job_id)
