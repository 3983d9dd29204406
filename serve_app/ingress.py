"""The HTTP ingress: builds the pipeline from handles and mounts the API on it."""

from __future__ import annotations

import asyncio
import logging
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
from deployments.single_replica import refuse_company
from deployments.startup import collector_paused
from deployments.tasks import spawn_detached
from deployments.types import StageStatus
from serve_app.admission.config import AdmissionConfig
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
    ask_replicas,
    plain,
)
from serve_app.outbound.config import SourcesConfig, WebhookConfig
from serve_app.outbound.http import Http
from serve_app.outbound.sources import Sources
from serve_app.outbound.webhooks import Sender
from serve_app.platform.lexical_statistics import LexicalStatistics
from serve_app.platform.visibility import Visibility
from serve_app.platform.webhooks import Webhooks
from serve_app.query.fallback import Extractive
from serve_app.query.pipeline import Pipeline
from serve_app.query.prefix_cache import Prefixes, PromptConfig
from serve_app.services.container import assemble
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database

logger = logging.getLogger(__name__)

LIMITER = "limiter"
"""The deployment's actor that all its replicas share."""


class HangUps:
    """When a client hangs up, Serve's own proxy cancels the request and with it the call by which the app would hear of
    that. The app hears it nevertheless, as ASGI has it, and not as an error to be logged with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told() -> Message:
            try:
                return await receive()
            except TaskCancelledError:
                return {"type": "http.disconnect"}

        await self.app(scope, told, send)


class _Ingress:
    """`handles`: the five stages by name. `settle_s`: how long a dead worker's lease on a document may last."""

    def __init__(
        self,
        config: ApiConfig,
        generation: GenerationConfig,
        database: Database,
        blobs: Blobs,
        sources: SourcesConfig,
        webhooks: WebhookConfig,
        admission: AdmissionConfig,
        prompt: PromptConfig,
        handles: Mapping[str, DeploymentHandle[Any]],
        settle_s: float,
        owned: str = "",
    ) -> None:
        refuse_company(owned)
        self._config = config
        self._database = database
        self._handles = handles = {name: plain(handle) for name, handle in handles.items()}
        self._announcements: set[asyncio.Task[None]] = set()
        http = Http(webhooks.web)
        retrieval = RetrievalHandle(handles["retrieval"])
        replica_admission = ReplicaAdmission(admission, generation.max_num_seqs)
        self._services = assemble(
            database,
            blobs,
            Pipeline(
                embed=EmbeddingHandle(handles["embedding"]),
                lexical=LexicalStatistics(database),
                visibility=Visibility(database),
                retrieve=retrieval,
                rerank=RerankingHandle(handles["reranking"]),
                generate=GenerationHandle(
                    handles["generation"], ray.util.get_node_ip_address(), adapters=generation.adapters
                ),
                context_tokens=generation.context_tokens,
                embedding_s=config.embedding_s,
                reranking_s=config.reranking_s,
                fallback=Extractive(generation) if config.fallback == "extractive" else None,
                prefixes=Prefixes(prompt) if generation.engine == "vllm" else None,
            ),
            InferenceHandle(handles["embedding"], handles["reranking"]),
            replica_admission,
            retrieval,
            Sources(sources),
            config,
            models=(generation.model, *generation.adapters),
            webhook_url=http.checked,
            settle_s=settle_s,
            stages=self._stages,
            announce=self._announce,
        )
        deliveries = Webhooks(database, self._services.jobs.view, self._services.events)
        self._sender = Sender(webhooks, deliveries, http)
        # Where a store has one owner there is one ingress replica, and nobody to share a limiter with.
        limiter = LocalLimiter(admission) if owned else SharedLimiter(LIMITER)
        self._limiter_sync = LimiterSync(
            replica_admission, uuid.uuid4().hex, limiter.sync, self._engines, generation.max_num_seqs
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        await self._database.migrate()
        self._sender.start()
        self._limiter_sync.start()
        with collector_paused():
            app = create_app(self._services)
            app.add_middleware(HangUps)
            return app

    def __del__(self) -> None:
        # Serve calls this when it stops a replica; a failed constructor leaves neither.
        for part in (getattr(self, "_sender", None), getattr(self, "_limiter_sync", None)):
            if part is not None:
                part.stop()

    async def _stages(self) -> Mapping[str, list[StageStatus]]:
        answers = await asyncio.gather(
            *(ask_replicas(handle, self._config.status_timeout_s) for handle in self._handles.values())
        )
        return dict(zip(self._handles, answers, strict=True))

    async def _engines(self) -> int:
        """How many generation replicas answer."""
        return len(await ask_replicas(self._handles["generation"], self._config.status_timeout_s))

    def _announce(self) -> None:
        """Tell ingestion that a job waits. Only a hint: it also looks for itself."""
        task = spawn_detached(self._wake())
        self._announcements.add(task)
        task.add_done_callback(self._announcements.discard)

    async def _wake(self) -> None:
        try:
            async with asyncio.timeout(self._config.status_timeout_s):
                await self._handles["ingestion"].broadcast("wake").results_async(return_exceptions=True)
        except Exception:
            logger.warning("ingestion was not told of a new job; it will find it by itself", exc_info=True)


Ingress = serve.ingress()(_Ingress)
