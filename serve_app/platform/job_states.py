"""The states of jobs, and the groups of document states that queries of the job tables need."""

from __future__ import annotations

from collections.abc import Set
from typing import Final, Literal

from deployments.ingestion.base import DocumentState
from serve_app.storage.tables import UNFINISHED_STATES

JobState = Literal["queued", "running", "succeeded", "partial", "failed", "cancelled"]
"""The state of a job. It follows from the states of the job's documents: see `job_state`."""
BulkState = Literal["waiting", "running", "ended"]
"""The state of a bulk job's Ray Job: not started yet, started, or over.

Once it is over, the ingestion workers index the documents that it left unfinished.
"""
UNFINISHED: Final = UNFINISHED_STATES
IN_WORK: Final[tuple[DocumentState, ...]] = ("parsing", "embedding")
"""A worker has claimed the document."""


def job_state(document_states: Set[str]) -> JobState:
    """The state of a job whose documents have these DocumentStates.

    - `queued`: all documents are queued.
    - `running`: at least one document is unfinished, and not all are queued.
    - `succeeded`: all documents are indexed.
    - `partial`: all documents are finished, and some but not all of them are indexed.
    - `failed`: all documents are finished, none is indexed, and at least one failed.
    - `cancelled`: all documents are cancelled, or there are none.
    """
    if document_states & set(UNFINISHED):
        return "queued" if document_states == {"queued"} else "running"
    if "indexed" in document_states:
        return "succeeded" if document_states == {"indexed"} else "partial"
    return "failed" if "failed" in document_states else "cancelled"


ReindexState = Literal["filling", "switched", "given_up", "in_place"]
"""The state of a job that makes documents again.

`filling`: it fills a generation of the index beside the live one. `switched`: that generation is live. `given_up`: it
never will be, by this job. `in_place`: the job makes the documents of one collection again, each by itself.
"""


def reindex_job_state(document_states: Set[str], reindex: ReindexState | None) -> JobState:
    """As `job_state`, for a job that may fill a generation: it succeeds once that is live, and runs until then."""
    state = job_state(document_states)
    if reindex == "switched":
        return "succeeded"
    if reindex == "filling":
        return "running" if is_over(state) else state
    if reindex == "given_up" and is_over(state):
        return "failed" if "failed" in document_states else "cancelled"
    return state


def is_over(state: JobState) -> bool:
    """Whether all documents of a job in this state are finished."""
    return state not in ("queued", "running")
