"""The HTTP ingress: the deployment that mounts the API on services built from the stages' handles."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.generation.config import GenerationConfig
from deployments.ingestion.base import ChunkSizes
from deployments.ray_metrics import RayRecorder, read_all_nodes
from deployments.replica import replica_id
from deployments.reranking.config import RerankingConfig
from deployments.single_replica import require_single_replica
from deployments.startup import gc_paused
from deployments.telemetry import tracing
from deployments.telemetry.config import TelemetryConfig
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.gauges import AdmissionGauges
from serve_app.admission.limiter import LocalLimiter
from serve_app.admission.replica import ReplicaAdmission
from serve_app.admission.sync import LimiterSync
from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig
from serve_app.handles import (
    EmbeddingHandle,
    GenerationHandle,
    InferenceHandle,
    RerankingHandle,
    RetrievalHandle,
    SharedLimiter,
    StageHandles,
)
from serve_app.outbound.config import SourcesConfig, WebhookConfig
from serve_app.outbound.http import Http
from serve_app.outbound.sources import Sources
from serve_app.outbound.webhooks import WebhookSender
from serve_app.platform.lexical_statistics import LexicalStatistics
from serve_app.platform.retention_config import RetentionConfig
from serve_app.platform.visibility import Visibility
from serve_app.platform.webhooks import Webhooks
from serve_app.query.config import PromptConfig, QueryConfig
from serve_app.query.fallback import Extractive
from serve_app.query.pipeline import Pipeline
from serve_app.query.prefix_cache import PromptPrefixCache
from serve_app.schemas.jobs import job_as_json
from serve_app.services.container import build_services, build_stores
from serve_app.services.gauges import BacklogGauges
from serve_app.services.repeated import Repeated
from serve_app.services.sweeper import Sweeper
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database

RECORDER = RayRecorder()
LIMITER = "limiter"
"""The deployment's actor that all its replicas share."""


class DisconnectOnCancel:
    """Turns Serve's cancelled `receive` into ASGI's `http.disconnect`.

    When a client hangs up, Serve's own proxy cancels the request, and with it the call by which the app waits for
    messages. So the app hears of the hang-up as it expects to, and nothing is logged as an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_or_disconnect() -> Message:
            try:
                return await receive()
            except TaskCancelledError:
                return {"type": "http.disconnect"}

        await self.app(scope, receive_or_disconnect, send)


class _Ingress:
    """`handles`: the five stages by name. `settle_s`: how long a dead worker's lease on a document may last.
    `chunk_sizes`: ingestion's own. `owned`: the embedded stores that this replica is the only owner of."""

    def __init__(
        self,
        config: ApiConfig,
        generation: GenerationConfig,
        database: Database,
        blobs: Blobs,
        sources: SourcesConfig,
        webhooks: WebhookConfig,
        retention: RetentionConfig,
        admission: AdmissionConfig,
        prompt: PromptConfig,
        query: QueryConfig,
        reranking: RerankingConfig,
        telemetry: TelemetryConfig,
        handles: Mapping[str, DeploymentHandle[Any]],
        settle_s: float,
        chunk_sizes: ChunkSizes,
        owned: str = "",
    ) -> None:
        require_single_replica(owned)
        tracing.start(telemetry, "ingress", replica=replica_id())
        stages = StageHandles(handles, config.status_timeout_s)
        models, http = (generation.model, *generation.adapters), Http(webhooks.web)
        replica_admission = ReplicaAdmission(admission, generation.max_num_seqs)
        stores = build_stores(
            database,
            blobs,
            config,
            models=models,
            chunk_sizes=chunk_sizes,
            check_webhook_url=http.checked,
            recorder=RECORDER,
            retention=retention,
        )
        self._database = database
        self._services = build_services(
            stores,
            _pipeline(stages, database, config, generation, prompt, query, reranking),
            InferenceHandle(stages["embedding"], stages["reranking"]),
            replica_admission,
            RetrievalHandle(stages["retrieval"]),
            Sources(sources),
            config,
            models=models,
            settle_s=settle_s,
            ask_stages=Repeated(stages.statuses, config.status_keep_s),
            read_metrics=read_all_nodes,
            announce_job=stages.announce_job,
            telemetry=telemetry,
        )
        self._key_uses = stores.keys.uses
        self._sender = WebhookSender(webhooks, Webhooks(database, stores.jobs.view, job_as_json, stores.events), http)
        self._gauges = AdmissionGauges(replica_admission, RECORDER)
        self._backlog = BacklogGauges(database, RECORDER)
        name = uuid.uuid4().hex
        self._sweeper = Sweeper(stores.retention, blobs, name)
        # Where a store has one owner there is one ingress replica, and nobody to share a limiter with.
        limiter = LocalLimiter(admission) if owned else SharedLimiter(LIMITER)
        self._limiter_sync = LimiterSync(
            replica_admission, name, limiter.sync, stages.count_engines, generation.max_num_seqs
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        await self._database.migrate()
        self._sender.start()
        self._gauges.start()
        self._backlog.start()
        self._key_uses.start()
        self._sweeper.start()
        self._limiter_sync.start()
        with gc_paused():
            app = create_app(self._services, RECORDER)
            app.add_middleware(DisconnectOnCancel)
            return app

    async def __del__(self) -> None:
        # Serve calls this when it stops a replica, and awaits it only because it is `async def`.
        # A failed constructor leaves none of them.
        for name in ("_sender", "_gauges", "_backlog", "_key_uses", "_sweeper", "_limiter_sync"):
            if (background := getattr(self, name, None)) is not None:
                background.stop()
        if (last_spans := tracing.end_of_replica()) is not None:
            await last_spans


def _pipeline(
    stages: StageHandles,
    database: Database,
    config: ApiConfig,
    generation: GenerationConfig,
    prompt: PromptConfig,
    query: QueryConfig,
    reranking: RerankingConfig,
) -> Pipeline:
    host = ray.util.get_node_ip_address()
    embedder = EmbeddingHandle(stages["embedding"])
    return Pipeline(
        embedder=embedder,
        lexical=LexicalStatistics(database),
        visibility=Visibility(database),
        retriever=RetrievalHandle(stages["retrieval"]),
        reranker=RerankingHandle(stages["reranking"], reranking),
        generator=GenerationHandle(
            stages["generation"], host, ports=config.ports_for_answers, adapters=generation.adapters
        ),
        context_tokens=generation.context_tokens,
        embedding_s=config.embedding_s,
        reranking_s=config.reranking_s,
        fallback=Extractive(generation, embedder) if config.fallback == "extractive" else None,
        prefixes=PromptPrefixCache(prompt) if generation.engine == "vllm" else None,
        config=query,
    )


Ingress = serve.ingress()(_Ingress)
