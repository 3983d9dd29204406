"""Configuration of the retrieval stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config import Beyond, Config, Unit

_OF_A_SERVER = (
    "own_databases",
    "consistency",
    "index_type",
    "index_params",
    "search_params",
    "replicas",
    "partition_isolation",
)
"""The settings that the embedded index has no use for."""


class RetrievalConfig(Config):
    """Where passages are kept and how they are searched. `uri` chooses the embedded index or a Milvus server."""

    backend: Literal["milvus", "fake"] = Field(
        "milvus", description="`milvus`: the embedded index or a Milvus server; `fake`: in memory, for tests"
    )
    uri: str = Field(
        "index",
        description="folder of the embedded index, or URI of a Milvus server (`http://host:19530`); "
        "a server's token is the environment variable `RAG_MILVUS_TOKEN`",
    )
    memory_mb: Annotated[int, Beyond("the tenant that was not searched for longest is unloaded")] = Field(
        4096, ge=64, description="embedded index: memory for vectors and terms"
    )
    database: str = Field("default", description="Milvus database")
    open_databases: Annotated[int, Unit("databases"), Beyond("the least recently used one is closed")] = Field(
        32,
        ge=1,
        description="databases of `own_databases` that one replica keeps open, each with up to `threads` threads",
    )
    own_databases: tuple[str, ...] = Field(
        (),
        description="tenants with a Milvus database of their own; `*`: all (Milvus allows 64 databases by default)",
    )
    collection_prefix: str = Field(
        "passages", pattern=r"^[a-z][a-z0-9_]{0,31}$", description="how the names of Milvus collections begin"
    )
    lock_timeout_s: Annotated[float, Beyond("the replica fails to start, and Serve starts it again")] = Field(
        60.0, gt=0, description="embedded index: wait for the lock that the replica before holds on the folder"
    )
    timeout_s: Annotated[float, Beyond("503")] = Field(10.0, gt=0, description="time of one call to the index")
    threads: int = Field(4, ge=1, description="calls to the index at the same time from one replica")
    max_questions: int = Field(32, ge=1, description="most concurrent questions that share one call to the index")
    max_entries: Annotated[int, Unit("passages"), Beyond("the call is refused")] = Field(
        1024, ge=1, description="passages in one write; the service itself writes fewer"
    )
    dense_weight: float = Field(
        0.8,
        ge=0,
        le=1,
        description="weight of dense search where the embedder knows the language; lexical search has the rest",
    )
    dense_weight_other: float = Field(0.1, ge=0, le=1, description="the same where it does not know it")
    late_weight: float = Field(
        0.7,
        ge=0,
        le=1,
        description="embedded index: weight of late interaction in the score of the best candidates; 0: off, and new "
        "passages are stored without token vectors, which take about 24 KB each",
    )
    late_candidates: Annotated[int, Unit("passages")] = Field(
        20, ge=1, le=200, description="embedded index: best candidates that late interaction scores"
    )

    consistency: Literal["strong", "bounded"] = Field(
        "strong",
        description="Milvus server: `strong`: a search waits until all that was written before it can be found; "
        "`bounded`: it does not wait, and may miss what was indexed in the last seconds (Milvus' "
        "`common.gracefulTime`, 5 s). What is deleted or replaced is never found, whichever it is",
    )
    index_type: Literal["AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "SCANN", "DISKANN"] = Field(
        "AUTOINDEX", description="Milvus server: index of dense vectors in collections that are made from now on"
    )
    index_params: dict[str, int | float] = Field(
        default_factory=dict,
        description="Milvus server: parameters of that index, such as `M`, `efConstruction`, `nlist`",
    )
    search_params: dict[str, int | float] = Field(
        default_factory=dict, description="Milvus server: parameters of dense searches, such as `ef`, `nprobe`"
    )
    replicas: Annotated[int, Unit("copies")] = Field(
        1,
        ge=1,
        le=64,
        description="Milvus server: copies of each collection in memory, on as many groups of query nodes",
    )
    partition_isolation: bool = Field(
        False,
        description="Milvus server: an index for each tenant's partition key in collections that are made from now on; "
        "needs `index_type: HNSW`",
    )

    @model_validator(mode="after")
    def _server_settings_need_a_server(self) -> Self:
        if self.embedded or self.backend == "fake":
            for field in _OF_A_SERVER:
                if getattr(self, field) != type(self).model_fields[field].get_default(call_default_factory=True):
                    raise ValueError(
                        f"retrieval.{field} needs a Milvus server: set retrieval.uri to one, or leave it out"
                    )
        if self.partition_isolation and self.index_type != "HNSW":
            raise ValueError(
                "retrieval.partition_isolation needs retrieval.index_type: HNSW; Milvus has it for no other"
            )
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
