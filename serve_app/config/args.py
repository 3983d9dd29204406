"""AppArgs: the behaviour of the service, composed of the configurations of its stages.

Scale and resources are not here: they are under `deployments:` of the same file (see file.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from deployments.config import Config
from deployments.embedding.config import EmbeddingConfig
from deployments.generation.config import GenerationConfig
from deployments.ingestion.config import IngestionConfig
from deployments.reranking.config import RerankingConfig
from deployments.retrieval.config import RetrievalConfig
from deployments.types import Language
from serve_app.admission.config import AdmissionConfig
from serve_app.config.paths import HOME
from serve_app.outbound.config import SourcesConfig, WebhookConfig
from serve_app.query.config import PromptConfig, QueryConfig
from serve_app.storage.config import BlobConfig, StoreConfig


class ApiConfig(Config):
    """The limits of the HTTP contract, and the values that hold where a caller names none."""

    default_language: Language = "hr"
    max_query_characters: int = Field(8_000, ge=1)
    max_filter_bytes: int = Field(2_048, ge=1)
    max_filter_depth: int = Field(5, ge=1)
    max_metadata_bytes: int = Field(16_384, ge=2)
    max_body_bytes: int = Field(50 * 1024 * 1024, ge=1024)
    max_query_body_bytes: int = Field(256 * 1024, ge=1024, description="body of every route that takes no documents")
    max_texts_body_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="body of /v1/embeddings and of rerank")
    max_inputs: int = Field(2_048, ge=1, description="texts that one request has embedded or reranked")
    max_input_characters: int = Field(100_000, ge=1, description="length of one of these texts")
    max_body_s: float = Field(60, gt=0, description="how long a body may take to arrive once it is read")
    max_files: int = Field(1_000, ge=1, description="files in one job")
    max_batch: int = Field(50, ge=1, description="calls in one batch of /v1/rpc")
    max_collections: int = Field(50, ge=1, description="collections one query may name")
    top_k: int = Field(8, ge=1)
    max_top_k: int = Field(50, ge=1)
    candidates: int = Field(40, ge=1, description="taken from each half of retrieval")
    max_tokens: int = Field(512, ge=1)
    max_max_tokens: int = Field(4_096, ge=1)
    deadline_s: float = Field(60, gt=0)
    max_deadline_s: float = Field(300, gt=0)
    first_token_s: float = Field(20, gt=0)
    embedding_s: float = Field(
        10,
        gt=0,
        description="how long a question waits for its vector and its term weights; late or down, the search goes by "
        "the other alone",
    )
    reranking_s: float = Field(
        5, gt=0, description="how long a question waits for its reranking; late or down, the fused order stays"
    )
    fallback: Literal["none", "extractive"] = Field(
        "none", description="what answers from the passages where generation cannot begin: nothing (503), or quotations"
    )
    heartbeat_s: float = Field(5, gt=0, description="silence after which a stream sends a comment, or an empty line")
    status_timeout_s: float = Field(5, gt=0, description="how long /readyz waits for one stage")
    page: int = Field(100, ge=1, description="rows of a list where none are asked for")
    max_page: int = Field(1_000, ge=1)
    max_scanned: int = Field(
        10_000, ge=1, description="rows that one page of a filtered list looks at; the next one goes on from there"
    )
    job_poll_s: float = Field(1, gt=0, description="how often a stream of a job's events asks how far the job is")
    max_job_events_s: float = Field(900, gt=0, description="how long such a stream lasts if the job does not end")
    max_key_overlap_s: float = Field(30 * 86_400, ge=0, description="how long a rotated key may go on working")
    idempotency_s: float = Field(86_400, gt=0, description="how long the answer to an Idempotency-Key is kept")
    key_cache_s: float = Field(5, ge=0, le=5, description="how long a replica remembers that a key was good")

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        for default, limit in (
            ("top_k", "max_top_k"),
            ("max_tokens", "max_max_tokens"),
            ("deadline_s", "max_deadline_s"),
            ("page", "max_page"),
        ):
            if getattr(self, default) > getattr(self, limit):
                raise ValueError(f"{default} is larger than {limit}")
        return self


class AppArgs(Config):
    """Paths of embedded stores (SQLite, blobs, the index) are relative to `data_dir`, and that to the checkout."""

    data_dir: str = "var"
    store: StoreConfig = StoreConfig()
    blobs: BlobConfig = BlobConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    reranking: RerankingConfig = RerankingConfig()
    generation: GenerationConfig = GenerationConfig()
    ingestion: IngestionConfig = IngestionConfig()
    sources: SourcesConfig = SourcesConfig()
    webhooks: WebhookConfig = WebhookConfig()
    api: ApiConfig = ApiConfig()
    admission: AdmissionConfig = AdmissionConfig()
    prompt: PromptConfig = PromptConfig()
    query: QueryConfig = QueryConfig()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        generation, api = self.generation, self.api
        if generation.engine == "auto" and generation.accelerator == "gpu":
            raise ValueError(
                "generation.engine: auto looks into this machine's own model cache, so it is for the embedded default; "
                "name vllm or extractive where generation.accelerator is gpu"
            )
        if generation.engine == "vllm" and api.max_max_tokens >= generation.context_tokens:
            raise ValueError("api.max_max_tokens must be smaller than generation.context_tokens")
        if self.ingestion.chunk_overlap >= self.ingestion.chunk_tokens:
            raise ValueError("ingestion.chunk_overlap must be smaller than ingestion.chunk_tokens")
        if self.embedding.backend == "fake" and self.reranking.backend == "cross_encoder":
            raise ValueError("reranking.backend: cross_encoder beside embedding.backend: fake; fake both or neither")
        return self

    @property
    def data_path(self) -> Path:
        return (HOME / self.data_dir).resolve()

    def local_stores(self) -> dict[str, tuple[str, ...]]:
        """Field of each embedded store → the deployments that open it. Each of those must have one replica."""
        stores: dict[str, tuple[str, ...]] = {}
        if self.retrieval.embedded:
            stores["retrieval.uri"] = ("retrieval",)
        if self.store.embedded:
            stores["store.url"] = ("ingress", "ingestion")
        if self.blobs.embedded:
            stores["blobs.url"] = ("ingress", "ingestion")
        return stores

    def resolved(self) -> AppArgs:
        """The same arguments with absolute local paths: replicas have working folders of their own."""
        return self.model_copy(
            update={
                "data_dir": str(self.data_path),
                "store": self.store.resolved(self.data_path),
                "blobs": self.blobs.resolved(self.data_path),
                "retrieval": self.retrieval.resolved(self.data_path),
            }
        )
