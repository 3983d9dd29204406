"""AppArgs: the behaviour of the service, composed of the configurations of its stages.

Scale and resources are not here: they are under `deployments:` of the same file (see file.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config import Beyond, Config, Unit
from deployments.embedding.config import EmbeddingConfig
from deployments.generation.config import GenerationConfig
from deployments.ingestion.base import METADATA_BYTES
from deployments.ingestion.config import IngestionConfig
from deployments.reranking.config import RerankingConfig
from deployments.retrieval.config import RetrievalConfig
from deployments.telemetry.config import TelemetryConfig
from deployments.types import Language
from serve_app.admission.config import AdmissionConfig
from serve_app.config.paths import HOME
from serve_app.outbound.config import SourcesConfig, WebhookConfig
from serve_app.platform.retention_config import KEPT_ANSWER_BYTES, KEPT_ANSWERS_BYTES, RetentionConfig
from serve_app.platform.unknown_keys import UNKNOWN_KEY_CACHE_S, UNKNOWN_KEYS_PER_MINUTE
from serve_app.query.config import PromptConfig, QueryConfig
from serve_app.storage.config import BlobConfig, StoreConfig

MAX_PORT = 65_535


class ApiConfig(Config):
    """Limits of the HTTP API, and the values that apply where a request names none."""

    cors_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/*?#\s]+$")], ...] = Field(
        (), description="origins whose pages may call the API from a browser, such as `https://chat.example`"
    )
    default_language: Language = Field("hr", description="language of an answer if the question does not tell it")
    max_query_characters: Annotated[int, Beyond("422")] = Field(8_000, ge=1, description="length of a question")
    max_filter_bytes: Annotated[int, Beyond("422")] = Field(2_048, ge=1, description="length of a filter in UTF-8")
    max_filter_depth: Annotated[int, Unit("levels"), Beyond("422")] = Field(
        5, ge=1, description="nesting of a filter's parentheses and operators"
    )
    max_metadata_bytes: Annotated[int, Beyond("422")] = Field(
        METADATA_BYTES, ge=2, description="metadata of one document; fields of its front matter beyond it are left out"
    )
    max_body_bytes: Annotated[int, Beyond("413")] = Field(
        50 * 1024 * 1024, ge=1024, description="form with files for `/v1/documents`"
    )
    max_json_bytes: Annotated[int, Beyond("413")] = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="body in JSON of `/v1/documents`, `/v1/commands` and `/v1/rpc`; a query key's is bounded by "
        "`max_query_body_bytes`",
    )
    max_json_values: Annotated[int, Unit("values"), Beyond("413")] = Field(
        50_000,
        ge=1,
        description="texts, numbers, objects, lists and so on in a body in JSON of more than 64 KiB",
    )
    max_query_body_bytes: Annotated[int, Beyond("413")] = Field(
        256 * 1024, ge=1024, description="body of all other routes"
    )
    max_texts_body_bytes: Annotated[int, Beyond("413")] = Field(
        4 * 1024 * 1024, ge=1024, description="body of `/v1/embeddings`, `/v1/rerank` and `/v2/rerank`"
    )
    max_inputs: Annotated[int, Unit("texts"), Beyond("400")] = Field(
        2_048, ge=1, description="texts in one request to embed or rerank"
    )
    max_input_characters: Annotated[int, Beyond("400")] = Field(
        100_000, ge=1, description="length of one of these texts"
    )
    max_body_s: Annotated[float, Beyond("408")] = Field(
        60, gt=0, description="time for a body to arrive, from the moment it is read"
    )
    max_files: Annotated[int, Beyond("422")] = Field(1_000, ge=1, description="files in one job")
    max_waiting_documents: Annotated[int, Unit("documents"), Beyond("429")] = Field(
        10_000, ge=1, description="documents of one tenant that wait to be indexed; at least `max_files`"
    )
    max_batch: Annotated[int, Unit("calls"), Beyond("422")] = Field(
        50, ge=1, description="calls in one batch of `/v1/rpc`"
    )
    max_collections: Annotated[int, Beyond("422")] = Field(50, ge=1, description="collections that one query may name")
    top_k: Annotated[int, Unit("passages")] = Field(8, ge=1, description="passages that an answer may use, by default")
    max_top_k: Annotated[int, Unit("passages"), Beyond("422")] = Field(50, ge=1, description="largest `top_k`")
    candidates: Annotated[int, Unit("passages")] = Field(
        40, ge=1, description="candidates from each of dense and lexical search"
    )
    max_tokens: Annotated[int, Beyond("the answer ends with `length`")] = Field(
        512, ge=1, description="length of an answer, by default"
    )
    max_max_tokens: Annotated[int, Unit("tokens"), Beyond("422")] = Field(
        4_096, ge=1, description="largest `max_tokens`"
    )
    deadline_s: Annotated[float, Beyond("504, or `error` in a stream")] = Field(
        60, gt=0, description="time for a whole request, by default"
    )
    max_deadline_s: Annotated[float, Beyond("the deadline is shortened to it")] = Field(
        300, gt=0, description="largest deadline that a request may set with `X-Deadline-Ms`"
    )
    first_token_s: Annotated[
        float, Beyond("504, or `error` in a stream; with `fallback: extractive` an answer of quotations")
    ] = Field(20, gt=0, description="time until generation sends its first token")
    embedding_s: Annotated[float, Beyond("the search uses the other one alone, and `degraded` says so")] = Field(
        10,
        gt=0,
        description="wait for a question's vector and for its term weights, but at most half of the remaining deadline",
    )
    reranking_s: Annotated[float, Beyond("the fused order stays, and `degraded` says so")] = Field(
        5, gt=0, description="wait for reranking, but at most half of the remaining deadline"
    )
    fallback: Literal["none", "extractive"] = Field(
        "none", description="what answers if generation cannot begin: nothing (503), or quotations from the passages"
    )
    heartbeat_s: Annotated[float, Beyond("the stream sends a comment; NDJSON sends an empty line")] = Field(
        5, gt=0, description="silence in a stream"
    )
    status_timeout_s: Annotated[float, Beyond("the stage counts as not ready")] = Field(
        5, gt=0, description="wait of `/readyz` for one stage"
    )
    status_keep_s: Annotated[float, Beyond("the stages are asked again")] = Field(
        1,
        ge=0,
        description="how long `/readyz` repeats what the stages said, as anyone may ask for it",
    )
    answer_port: Annotated[int, Unit("port; 0: any free one")] = Field(
        0, ge=0, le=MAX_PORT, description="first port of an ingress replica's node at which generation delivers answers"
    )
    answer_ports: Annotated[int, Unit("ports"), Beyond("503: the ingress replica cannot receive answers")] = Field(
        64, ge=1, description="ports from `answer_port` on; each ingress replica of a node takes one"
    )
    page: Annotated[int, Unit("rows")] = Field(100, ge=1, description="rows of a list's page, by default")
    max_page: Annotated[int, Unit("rows"), Beyond("422")] = Field(1_000, ge=1, description="largest page")
    max_scanned: Annotated[int, Unit("rows"), Beyond("the page ends, and `next` continues from there")] = Field(
        10_000, ge=1, description="rows that one page of a filtered list examines"
    )
    job_poll_s: float = Field(
        1,
        gt=0,
        description="interval at which a job that is followed is read while changes of other replicas are not heard "
        "(see `store.listen_url`)",
    )
    max_job_streams: Annotated[int, Unit("streams"), Beyond("429")] = Field(
        100, ge=1, description="streams of jobs' events that one tenant may have open at one replica"
    )
    max_job_events_s: Annotated[float, Beyond("the stream ends; open it again")] = Field(
        900, gt=0, description="duration of a stream of a job's events"
    )
    max_key_overlap_s: Annotated[float, Beyond("422")] = Field(
        30 * 86_400, ge=0, description="how long a rotated key may stay valid"
    )
    idempotency_s: Annotated[float, Beyond("the request counts as a new one")] = Field(
        86_400, gt=0, description="how long the answer to an `Idempotency-Key` is kept"
    )
    kept_answer_bytes: Annotated[int, Beyond("the answer is not kept")] = Field(
        KEPT_ANSWER_BYTES, ge=1024, description="size of one answer that is kept for an `Idempotency-Key`"
    )
    kept_answers_bytes: Annotated[int, Beyond("the oldest are dropped")] = Field(
        KEPT_ANSWERS_BYTES,
        ge=1024,
        description="size of all answers to questions of one tenant that are kept for an `Idempotency-Key`",
    )
    key_cache_s: float = Field(5, ge=0, le=5, description="how long a replica trusts a key that it has checked")
    unknown_key_cache_s: float = Field(
        UNKNOWN_KEY_CACHE_S, ge=0, le=5, description="how long a replica refuses an unknown key without looking it up"
    )
    unknown_keys_per_minute: Annotated[int, Unit("keys a minute"), Beyond("429")] = Field(
        UNKNOWN_KEYS_PER_MINUTE,
        ge=1,
        description="unknown keys that a replica looks up for one client address (IPv6: one /64 network)",
    )

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        for default, limit in (
            ("top_k", "max_top_k"),
            ("max_tokens", "max_max_tokens"),
            ("deadline_s", "max_deadline_s"),
            ("page", "max_page"),
            ("max_files", "max_waiting_documents"),
        ):
            if getattr(self, default) > getattr(self, limit):
                raise ValueError(f"{default} is larger than {limit}")
        if self.ports_for_answers[-1] > MAX_PORT:
            raise ValueError(f"answer_port + answer_ports reaches beyond port {MAX_PORT:,}; lower one of them")
        return self

    @property
    def ports_for_answers(self) -> range:
        """The ports at which an ingress replica may listen for answers; 0 alone means any free one."""
        return range(self.answer_port, self.answer_port + self.answer_ports) if self.answer_port else range(1)


class AppArgs(Config):
    """Behaviour of the service. Each group of settings has a section of its own."""

    data_dir: str = Field(
        "var", description="folder of SQLite, uploaded files and the embedded index; relative to the checkout"
    )
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
    retention: RetentionConfig = RetentionConfig()
    admission: AdmissionConfig = AdmissionConfig()
    prompt: PromptConfig = PromptConfig()
    query: QueryConfig = QueryConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

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
                "telemetry": self.telemetry.resolved(self.data_path),
            }
        )
