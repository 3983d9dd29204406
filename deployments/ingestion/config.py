"""Configuration of the ingestion stage."""

from __future__ import annotations

from pydantic import Field

from deployments.config import Config

_LONGEST_RETRY_S = 60.0


class BulkConfig(Config):
    """Bulk ingestion: documents on their way through Ray Data, in Ray Jobs."""

    jobs: int = Field(2, ge=1, description="Ray Jobs at once; later ones wait")
    parsers: int = Field(
        4, ge=1, description="actors of a job that parse, at most; one where stores are on the head node's disk"
    )
    calls: int = Field(4, ge=1, description="batches that a job has with the embedding and retrieval stages at once")
    submit_s: float = Field(60.0, gt=0, description="how long the dashboard may take to accept a Ray Job")
    start_s: float = Field(
        120.0, gt=0, description="how long an accepted Ray Job may take to begin before the workers do its documents"
    )
    stall_s: float = Field(
        600.0, gt=0, description="a Ray Job in which nothing moves for so long is ended; the workers do what is left"
    )


class IngestionConfig(Config):
    chunk_tokens: int = Field(220, ge=32, description="size of a chunk in the embedder's tokens")
    chunk_overlap: int = Field(32, ge=0, description="tokens that a chunk repeats of the one before")
    embed_batch: int = Field(64, ge=1, le=512, description="chunks in one call to the embedding stage")
    concurrent_documents: int = Field(2, ge=1, description="documents a replica works on at once")
    parse_processes: int = Field(2, ge=1, le=8, description="processes that parse; each is started when first needed")
    parse_timeout_s: float = Field(60.0, gt=0)
    parse_memory_mb: int = Field(1024, ge=256, description="memory of the process that parses one document")
    max_inflation: int = Field(100, ge=1, description="how many times larger than its file a document may unpack to")
    max_text_characters: int = Field(20_000_000, ge=1, description="text of one document")
    max_pages: int = Field(20_000, ge=1, description="pages of one PDF, slides of one presentation")
    poll_s: float = Field(2.0, gt=0, description="how often the job store is asked for work that nobody announced")
    remove_every_s: float = Field(
        5.0, gt=0, description="how often replaced and deleted documents' passages are looked for, to be removed"
    )
    lease_s: float = Field(30.0, gt=0, description="how long a claimed document stays claimed without a heartbeat")
    max_attempts: int = Field(8, ge=1, description="tries of one document before it is failed")
    retry_delay_s: float = Field(
        1.0, ge=0, description="wait before the next try of a document; doubles each time, up to a minute"
    )
    bulk: BulkConfig = BulkConfig()

    def retry_after(self, attempts: int) -> float:
        """Seconds to wait after so many tries that failed."""
        return min(self.retry_delay_s * 2.0 ** max(attempts - 1, 0), _LONGEST_RETRY_S)
