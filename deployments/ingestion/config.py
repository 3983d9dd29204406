"""Configuration of the ingestion stage."""

from __future__ import annotations

from pydantic import Field

from deployments.config import Config
from deployments.ingestion.base import ChunkSizes

_MAX_RETRY_DELAY_S = 60.0


class BulkConfig(Config):
    """How bulk jobs run. Each is a Ray Job, which sends the job's documents through a Ray Data pipeline."""

    jobs: int = Field(2, ge=1, description="Ray Jobs that run at the same time; further bulk jobs wait")
    parsers: int = Field(
        4,
        ge=1,
        description="largest number of parsing actors of one job; it is 1 if the stores are on the head node's disk",
    )
    calls: int = Field(
        4, ge=1, description="batches of one job that the embedding and retrieval stages each work on at the same time"
    )
    submit_s: float = Field(
        60.0,
        gt=0,
        description="seconds that the Ray dashboard may take to accept a Ray Job; then the workers index its documents",
    )
    start_s: float = Field(
        120.0,
        gt=0,
        description="seconds that an accepted Ray Job may take to start; then the workers index its documents",
    )
    stall_s: float = Field(
        600.0,
        gt=0,
        description="seconds without progress after which a Ray Job is ended; the workers index its other documents",
    )


class IngestionConfig(Config):
    """How documents are parsed, cut into chunks, embedded and indexed. Counts are per replica."""

    chunk_tokens: int = Field(400, ge=32, description="largest size of a chunk, in the embedder's tokens")
    chunk_overlap: int = Field(
        32, ge=0, description="tokens at the end of a chunk that the next chunk repeats, in the embedder's tokens"
    )
    embed_batch: int = Field(64, ge=1, le=512, description="chunks in one call to the embedding stage, at most")
    concurrent_documents: int = Field(
        2, ge=1, description="documents that a replica indexes at the same time; further documents stay queued"
    )
    parse_processes: int = Field(
        2, ge=1, le=8, description="largest number of parsing processes; each is started when it is first needed"
    )
    parse_timeout_s: float = Field(
        60.0, gt=0, description="seconds that parsing one document may take; then the document fails"
    )
    parse_memory_mb: int = Field(
        1024, ge=256, description="memory of one parsing process, in MiB; a document that needs more fails"
    )
    max_inflation: int = Field(
        100,
        ge=1,
        description="largest unpacked size of a document, as a multiple of its file size; a larger one fails, "
        "unless it is at most 1 MiB",
    )
    max_text_characters: int = Field(
        20_000_000, ge=1, description="largest number of characters in one document's text; a longer document fails"
    )
    max_pages: int = Field(
        20_000,
        ge=1,
        description="largest number of pages of a PDF, or slides of a presentation; a longer one fails",
    )
    poll_s: float = Field(2.0, gt=0, description="seconds between checks for new work, in case a notification was lost")
    remove_every_s: float = Field(
        5.0, gt=0, description="seconds between removals of the passages of replaced and deleted documents"
    )
    lease_s: float = Field(
        30.0,
        gt=0,
        description="seconds without a heartbeat after which another worker may claim a worker's documents",
    )
    max_attempts: int = Field(8, ge=1, description="attempts to index a document; it fails after the last one")
    retry_delay_s: float = Field(
        1.0,
        ge=0,
        description="seconds before the second attempt; the delay doubles after each attempt, up to 60 seconds",
    )
    bulk: BulkConfig = BulkConfig()

    @property
    def chunk_sizes(self) -> ChunkSizes:
        """The sizes for collections without their own."""
        return ChunkSizes(self.chunk_tokens, self.chunk_overlap)

    def retry_after(self, attempts: int) -> float:
        """Seconds to wait before the next attempt. `attempts`: how many have failed, at least 1."""
        return min(self.retry_delay_s * 2.0 ** max(attempts - 1, 0), _MAX_RETRY_DELAY_S)
