"""A job as it begins."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from deployments.telemetry import tracing
from serve_app.storage.tables import Job


def new_job(tenant_id: str, now: datetime) -> Job:
    """A tenant's job with an id of its own, of the trace of the request at hand. It is in no session yet."""
    return Job(tenant_id=tenant_id, id=f"job_{uuid4().hex}", created_at=now, trace=dict(tracing.origin()))
