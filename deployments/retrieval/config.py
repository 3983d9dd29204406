"""Configuration of the retrieval stage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from deployments.config import Config


class RetrievalConfig(Config):
    backend: Literal["milvus", "fake"] = "milvus"
    uri: str = Field(
        "index", description="the embedded index's folder (a path) or a Milvus server's URI (http://host:19530)"
    )
    memory_mb: int = Field(
        4096,
        ge=64,
        description="embedded index: vectors and terms in memory; those of tenants not searched for long go first",
    )
    database: str = "default"
    own_databases: tuple[str, ...] = Field(
        (),
        description="tenants that get a Milvus database of their own; '*' for all (Milvus allows 64 by default)",
    )
    collection_prefix: str = Field("passages", pattern=r"^[a-z][a-z0-9_]{0,31}$")
    lock_timeout_s: float = Field(
        60.0, gt=0, description="how long to wait for a predecessor's lock on the index's folder"
    )
    timeout_s: float = Field(10.0, gt=0, description="one call to the index")
    threads: int = Field(4, ge=1, description="calls to Milvus at once from one replica")
    max_questions: int = Field(
        32, ge=1, description="concurrent questions of equal scope and filter that share one call to Milvus"
    )
    max_entries: int = Field(1024, ge=1, description="passages in one upsert")
    dense_weight: float = Field(
        0.8, ge=0, le=1, description="share of the dense half where the embedder knows the language"
    )
    dense_weight_other: float = Field(0.1, ge=0, le=1, description="the same where it does not")

    late_weight: float = Field(
        0.7,
        ge=0,
        le=1,
        description="embedded index: share of late interaction in the score of the best candidates; 0: off, and new "
        "passages keep no token vectors, which take about 24 KB each",
    )
    late_candidates: int = Field(
        20, ge=1, le=200, description="embedded index: candidates whose tokens are compared with the question's"
    )

    @model_validator(mode="after")
    def _databases_need_a_server(self) -> Self:
        if self.own_databases and (self.embedded or self.backend == "fake"):
            raise ValueError("retrieval.own_databases needs a Milvus server: set retrieval.uri to one, or leave it out")
        return self

    @property
    def embedded(self) -> bool:
        """True for a folder, which one process owns."""
        return self.backend == "milvus" and "://" not in self.uri

    @property
    def uses_token_vectors(self) -> bool:
        return self.embedded and self.late_weight > 0

    def resolved(self, folder: Path) -> RetrievalConfig:
        """The same with a folder's path made absolute, relative ones lying in `folder`."""
        return self.model_copy(update={"uri": str(folder / self.uri)}) if self.embedded else self
