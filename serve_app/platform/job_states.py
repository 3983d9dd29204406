"""The states of a document's version on its way, and of the job that it came with."""

from __future__ import annotations

from collections.abc import Set
from typing import Final, Literal

JobState = Literal["queued", "running", "succeeded", "partial", "failed", "cancelled"]
BulkState = Literal["waiting", "running", "ended"]
IN_WORK: Final = ("parsing", "embedding")
"""States of a version that a worker has."""
UNFINISHED: Final = ("queued", *IN_WORK)


def job_state(document_states: Set[str]) -> JobState:
    """A job's state, from those that its documents are in.

    While documents wait or are worked on, it is `queued` or `running`. Then it is `succeeded` if all of them are
    indexed, `partial` if some are, and `failed` or `cancelled` if none is.
    """
    if document_states & set(UNFINISHED):
        return "queued" if document_states == {"queued"} else "running"
    if "indexed" in document_states:
        return "succeeded" if document_states == {"indexed"} else "partial"
    return "failed" if "failed" in document_states else "cancelled"
