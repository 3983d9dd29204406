"""Is it alive, is it ready, and what serves; and what an error code means."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from deployments import errors
from deployments.types import StageStatus
from serve_app.api.access import Serving
from serve_app.api.errors import STATUS

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def alive() -> dict[str, bool]:
    """The ingress answers. Says nothing of the other stages."""
    return {"alive": True}


@router.get("/readyz")
async def ready(serving: Serving, response: Response) -> dict[str, Any]:
    """Each stage's state and what serves it; 503 until every stage has a replica that is ready."""
    stages = {name: _summary(replicas) for name, replicas in (await serving.stages()).items()}
    everything = all(stage["ready"] for stage in stages.values())
    response.status_code = 200 if everything else 503
    return {"ready": everything, "stages": stages}


def _summary(replicas: list[StageStatus]) -> dict[str, Any]:
    best = next((status for status in replicas if status.ready), replicas[0] if replicas else None)
    if best is None:
        return {"ready": False, "engine": None, "model": None, "replicas": 0, "detail": "no replica answers"}
    return {
        "ready": best.ready,
        "engine": best.engine,
        "model": best.model,
        "replicas": sum(status.ready for status in replicas),
        "detail": best.detail,
    }


@router.get("/errors/{slug}")
async def describe_error(slug: str) -> dict[str, Any]:
    """What the `type` of a problem points to."""
    for error in STATUS:
        if error.code.replace("_", "-") == slug:
            return {
                "code": error.code,
                "title": error.title,
                "status": STATUS[error],
                "retryable": error.retryable,
            }
    raise errors.NotFound(f"there is no error named {slug}")
