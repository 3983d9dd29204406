"""Jobs are marked as changed by the rows that callers see, when these are written as objects.

A statement that changes rows without loading them marks their jobs itself.
"""

from __future__ import annotations

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, object_session

from serve_app.storage.changes import mark
from serve_app.storage.tables import Job, JobDocument


@event.listens_for(JobDocument, "after_update")
@event.listens_for(Job, "after_update")
def _tell_if_seen(mapper: object, connection: object, row: Job | JobDocument) -> None:
    """Have those who follow a job told of what they see of it: a renewed lease is not."""
    state: InstanceState[Job | JobDocument] = inspect(row)
    seen = ("reindex",) if isinstance(row, Job) else ("state", "chunks", "chunks_done")
    if any(state.attrs[name].history.has_changes() for name in seen):
        _tell_of_job(row)


@event.listens_for(JobDocument, "after_delete")
def _tell_of_removal(mapper: object, connection: object, row: JobDocument) -> None:
    _tell_of_job(row)


def _tell_of_job(row: Job | JobDocument) -> None:
    session = object_session(row)
    if session is not None:
        mark(session, row.id if isinstance(row, Job) else row.job_id)
