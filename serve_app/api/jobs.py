"""GET /jobs/{id}: how far the ingestion of accepted documents has come."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Path

from serve_app.api.access import Caller, Serving

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job_id}")
async def get(serving: Serving, caller: Caller, job_id: str = Path(max_length=64)) -> dict[str, Any]:
    """The job's state, counts by state, and each document's state with its error if it has one."""
    return await serving.jobs.view(caller.tenant_id, job_id)
