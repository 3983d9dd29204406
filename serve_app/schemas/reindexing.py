"""The index as a whole, and making it again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve_app.schemas.base import From, Name, ResponseModel, Wire
from serve_app.schemas.documents import Bulk

# --- Requests


class ReindexRequest(Wire):
    collection: Name | None = Field(
        None,
        description="only this collection's documents, each by itself, for new chunk sizes; 409 after the embedder has "
        "changed. Left out: all documents, which become live in one step",
        examples=["zakoni"],
    )
    bulk: Bulk = False


# --- Responses


class Embedder(ResponseModel):
    model: str
    fingerprint: str = Field(description="names the vector space: vectors of two fingerprints cannot be compared")


class IndexState(ResponseModel):
    documents: Annotated[int, From(lambda state: state.counts.documents)] = Field(
        description="those that searches find"
    )
    passages: Annotated[int, From(lambda state: state.counts.passages)]
    behind: Annotated[int, From(lambda state: state.counts.behind)] = Field(
        description="documents whose passages were made by another embedder, or cut otherwise, than they would be now"
    )
    missing: int = Field(description="passages that the index does not have, as after it was lost")
    embedder: Embedder = Field(description="the one that runs")
    live_embedder: Annotated[str | None, From(lambda state: state.live and state.live.embedder)] = Field(
        description="the fingerprint of the one whose vectors searches look in; if another runs, they go by terms "
        "alone. null: nothing is indexed"
    )
    job_id: str | None = Field(description="the job that reindexes now")


class ReindexJob(ResponseModel):
    job_id: str
