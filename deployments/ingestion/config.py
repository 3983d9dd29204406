"""Configuration of the ingestion stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployments.config import Beyond, Config, Unit
from deployments.ingestion.base import ChunkSizes

_MAX_RETRY_DELAY_S = 60.0
_FAILS = Beyond("the document fails and says why")
_WORKERS_GO_ON = Beyond("the workers index its documents")


class BulkConfig(Config):
    """How bulk jobs run. Each is a Ray Job, which sends the job's documents through a Ray Data pipeline."""

    jobs: Annotated[int, Unit("Ray Jobs"), Beyond("further bulk jobs wait")] = Field(
        2, ge=1, description="Ray Jobs that run at the same time"
    )
    parsers: Annotated[int, Unit("actors")] = Field(
        4,
        ge=1,
        description="largest number of parsing actors of one job; it is 1 if the stores are on the head node's disk",
    )
    calls: Annotated[int, Unit("batches")] = Field(
        4, ge=1, description="batches of one job that the embedding and retrieval stages each work on at the same time"
    )
    submit_s: Annotated[float, _WORKERS_GO_ON] = Field(
        60.0, gt=0, description="time for the Ray dashboard to accept a Ray Job"
    )
    start_s: Annotated[float, _WORKERS_GO_ON] = Field(120.0, gt=0, description="time for an accepted Ray Job to start")
    stall_s: Annotated[float, Beyond("the Ray Job is ended, and the workers index its other documents")] = Field(
        600.0, gt=0, description="time without progress of a Ray Job"
    )


class IngestionConfig(Config):
    """How documents are parsed, cut into chunks, embedded and indexed. Counts are per replica."""

    chunk_tokens: int = Field(400, ge=32, description="largest size of a chunk, in the embedder's tokens")
    chunk_overlap: Annotated[int, Unit("tokens")] = Field(
        32, ge=0, description="end of a chunk that the next chunk repeats, in the embedder's tokens"
    )
    embed_batch: Annotated[int, Unit("chunks")] = Field(
        64, ge=1, le=512, description="most chunks in one call to the embedding stage"
    )
    concurrent_documents: Annotated[int, Unit("documents"), Beyond("they stay queued")] = Field(
        2, ge=1, description="documents that a replica indexes at the same time"
    )
    parse_processes: Annotated[int, Unit("processes")] = Field(
        2, ge=1, le=8, description="largest number of parsing processes; each is started when it is first needed"
    )
    parse_timeout_s: Annotated[float, _FAILS] = Field(60.0, gt=0, description="time to parse one document")
    parse_memory_mb: Annotated[int, _FAILS] = Field(1024, ge=256, description="memory of one parsing process")
    max_inflation: Annotated[int, Unit("times its file size"), _FAILS] = Field(
        100, ge=1, description="unpacked size of a document; 1 MiB is always allowed"
    )
    max_text_characters: Annotated[int, _FAILS] = Field(20_000_000, ge=1, description="length of one document's text")
    max_pages: Annotated[int, _FAILS] = Field(20_000, ge=1, description="pages of a PDF, or slides of a presentation")
    poll_s: float = Field(2.0, gt=0, description="interval of checks for new work, in case a notification was lost")
    remove_every_s: float = Field(
        5.0, gt=0, description="interval of removing the passages of replaced and deleted documents"
    )
    lease_s: Annotated[float, Beyond("another worker may claim the worker's documents")] = Field(
        30.0, gt=0, description="time without a heartbeat of a worker"
    )
    max_attempts: Annotated[int, _FAILS] = Field(8, ge=1, description="attempts to index a document")
    retry_delay_s: float = Field(
        1.0, ge=0, description="wait before the second attempt; it doubles after each attempt, up to 60 seconds"
    )
    bulk: BulkConfig = BulkConfig()

    @property
    def chunk_sizes(self) -> ChunkSizes:
        """The sizes for collections without their own."""
        return ChunkSizes(self.chunk_tokens, self.chunk_overlap)

    def retry_after(self, attempts: int) -> float:
        """Seconds to wait before the next attempt. `attempts`: how many have failed, at least 1."""
        return min(self.retry_delay_s * 2.0 ** max(attempts - 1, 0), _MAX_RETRY_DELAY_S)
