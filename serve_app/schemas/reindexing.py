"""The state of the index as a whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve_app.schemas.base import From, ResponseModel


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
    embedder: Embedder = Field(description="the one that runs")
