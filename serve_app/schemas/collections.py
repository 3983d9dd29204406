"""Collections: named sets of a tenant's documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field

from deployments.errors import InvalidRequest
from deployments.ingestion.base import ChunkSizes
from serve_app.platform.collections import CollectionView
from serve_app.schemas.base import Label, Next, ResponseModel, Text, Time, Wire


class _CollectionFields(Wire):
    description: Text = Field("", max_length=2_000)
    chunk_tokens: int | None = Field(
        None,
        ge=32,
        le=8_192,
        description="size of its documents' chunks, in the embedder's tokens and at most what that reads; "
        "null: the service's own",
    )
    chunk_overlap: int | None = Field(
        None, ge=0, le=4_096, description="tokens that a chunk repeats of the one before; null: the service's own"
    )


class CollectionPatch(_CollectionFields):
    def change(self) -> dict[str, Any]:
        """What is given, and no more. Raises InvalidRequest for nothing."""
        given = {name: getattr(self, name) for name in _CollectionFields.model_fields if name in self.model_fields_set}
        if not given:
            raise InvalidRequest("nothing to change; send description, chunk_tokens or chunk_overlap")
        return given


class NewCollection(_CollectionFields):
    name: Label = Field(max_length=64, description="1 to 64 letters, digits, _ . -", examples=["zakoni"])

    def sizes(self) -> ChunkSizes:
        return ChunkSizes(self.chunk_tokens, self.chunk_overlap)


class Collection(ResponseModel):
    name: str = Field(examples=["zakoni"])
    description: str
    chunk_tokens: int | None = Field(description="size of its documents' chunks; null: the service's own")
    chunk_overlap: int | None
    documents: int = Field(description="those that searches find")
    passages: int
    created_at: Time
    updated_at: Time


class Collections(ResponseModel):
    collections: list[Collection]
    next: Next

    @classmethod
    def page(cls, rows: Sequence[CollectionView], limit: int) -> Self:
        """A page of at most `limit` rows: a full one may have a next."""
        return cls.model_validate({"collections": rows, "next": rows[-1].name if len(rows) == limit else None})


class FromCollection(ResponseModel):
    documents: int
    passages: int


class RemovedCollection(ResponseModel):
    name: str
    removed: FromCollection
