"""DeploymentHandle → port adapters: the only place where the service calls its stages.

A stage's error comes back as a RayTaskError that is also of the stage's own class, with a remote traceback as its text.
Here it becomes a plain RagError. Deadlines are the pipeline's: it cancels the awaits in here, and Serve then cancels
the replica's task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments.errors import Overloaded, RagError, StageUnavailable
from deployments.generation.adapters import ray_id
from deployments.generation.channel import ANY_PORT, LOST, Answer, Inbox
from deployments.ray_metrics import RayRecorder
from deployments.reranking.config import RerankingConfig
from deployments.stage_times import FIRST_TEXT
from deployments.tasks import spawn_detached
from deployments.telemetry.metrics import CALL_SECONDS, Recorder
from deployments.telemetry.stage_spans import brought
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderIdentity,
    EmbedderInfo,
    Embeddings,
    GenerationRequest,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Language,
    Passage,
    RetrievalRequest,
    Similarities,
    StageStatus,
    TextDelta,
    TextKind,
    VersionCopy,
)
from serve_app.admission.protocol import Grant, Report

T = TypeVar("T")
STATUS_TTL_S = 10.0
LAST_DELTA_GRACE_S = 2.0
"""How much later than the end of its call an answer's last delta may come: it comes over another connection."""
RECORDER: Recorder = RayRecorder()
logger = logging.getLogger(__name__)


def translate(stage: str, error: BaseException) -> RagError:
    """A stage's failure as the caller should see it. Complete for what Ray and Serve raise; see its test."""
    if isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, RagError):
        return error
    if isinstance(error, BackPressureError):
        return Overloaded(f"{stage} has as many requests as it takes; try again shortly")
    if isinstance(error, RayActorError | DeploymentUnavailableError | ReplicaUnavailableError | TaskCancelledError):
        return StageUnavailable(f"{stage} lost the replica that was working on this; try again")
    if isinstance(error, RayError | RayServeException):
        return StageUnavailable(f"{stage} did not answer ({type(error).__name__}); try again")
    logger.error("%s failed", stage, exc_info=error)
    return RagError(f"{stage} failed unexpectedly; the service's log has the details")


def with_pickle(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """The handle with the standard library's pickle for calls by gRPC.

    Serve's default, cloudpickle, takes many times as long for each item of a stream. It can send what pickle cannot,
    which stages never do.
    """
    return handle.options(request_serialization="pickle", response_serialization="pickle")


async def call(stage: str, response: Awaitable[T], work: str = "") -> T:
    """Await a handle's response; an error of the stage arrives as a RagError.

    `work`: what the stage's replica records the call as (see `StageTimes`); empty for what it does not record.
    """
    began = time.perf_counter()
    try:
        answer = await response
    except (RagError, RayError, RayServeException) as error:
        raise translate(stage, error) from None
    if work:
        RECORDER.record(CALL_SECONDS, time.perf_counter() - began, stage=stage, work=work)
    return answer


@dataclass(frozen=True, slots=True)
class EmbeddingHandle:
    """Port of the pipeline (questions), of ingestion (passages) and of the extractive engine (sentences)."""

    handle: DeploymentHandle[Any]

    async def embed_query(self, text: str) -> Embeddings:
        return await call(
            "embedding", self.handle.embed.remote([text], "query", with_tokens=True, **brought()), "query"
        )

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        embedding = self.handle.embed.remote(list(texts), "passage", with_tokens=True, **brought())
        return await call("embedding", embedding, "passage")

    async def similarities(self, question: str, sentences: Sequence[str]) -> Similarities:
        return await call(
            "embedding", self.handle.similarities.remote(question, list(sentences), **brought()), "sentence"
        )

    async def describe(self) -> EmbedderInfo:
        return await call("embedding", self.handle.describe.remote())


@dataclass(frozen=True, slots=True)
class RetrievalHandle:
    """Port of the pipeline (retrieve), of ingestion (upsert, delete) and of documents' routes."""

    handle: DeploymentHandle[Any]

    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        return await call("retrieval", self.handle.search.remote(request, **brought()), "search")

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        await call("retrieval", self.handle.upsert.remote(generation, list(entries), **brought()), "upsert")

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        reading = self.handle.read.remote(tenant_id, document_id, version, generation, after, limit, **brought())
        return await call("retrieval", reading, "read")

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        return await call("retrieval", self.handle.copy.remote(tenant_id, copy, generation, after, limit))

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await call("retrieval", self.handle.delete.remote(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await call("retrieval", self.handle.delete_versions.remote(tenant_id, list(versions)))

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        return await call("retrieval", self.handle.purge.remote(tenant_id, collection, generation))

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await call("retrieval", self.handle.measure.remote(tenant_id, generation))


@dataclass(frozen=True, slots=True)
class RerankingHandle:
    """Where the reranker has no weight, candidates do not travel to it and back."""

    handle: DeploymentHandle[Any]
    config: RerankingConfig

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        if not self.config.weight_for(language):
            return list(candidates)
        return await call(
            "reranking", self.handle.rerank.remote(query, language, list(candidates), **brought()), "text"
        )


class SharedLimiter:
    """The limiter, an actor of this replica's own deployment. Serve may replace it; the next one is then looked up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._actor: Any = None

    async def sync(self, report: Report) -> Grant:
        """Raises what Ray raises, and ValueError while there is none."""
        try:
            if self._actor is None:
                self._actor = await asyncio.to_thread(serve.get_deployment_actor, self._name)
            grant: Grant = await self._actor.sync.remote(report)
        except BaseException:
            self._actor = None
            raise
        return grant


class CachedStatus:
    """A stage's status, at most `ttl_s` seconds old."""

    def __init__(self, stage: str, handle: DeploymentHandle[Any], ttl_s: float) -> None:
        self._stage = stage
        self._handle = handle
        self._ttl_s = ttl_s
        self._status: tuple[float, StageStatus] | None = None

    async def status(self) -> StageStatus:
        if self._status is None or time.monotonic() - self._status[0] > self._ttl_s:
            self._status = time.monotonic(), await call(self._stage, self._handle.status.remote())
        return self._status[1]

    async def model(self) -> str:
        """The id of its model; the engine's name where it has none."""
        status = await self.status()
        return status.model or status.engine


class StageHandles:
    """All stages by name. `status_timeout_s`: how long a stage may take to answer for its replicas."""

    def __init__(self, handles: Mapping[str, DeploymentHandle[Any]], status_timeout_s: float) -> None:
        self._handles = {stage: with_pickle(handle) for stage, handle in handles.items()}
        self._status_timeout_s = status_timeout_s
        self._background_tasks: set[asyncio.Task[None]] = set()

    def __getitem__(self, stage: str) -> DeploymentHandle[Any]:
        return self._handles[stage]

    async def statuses(self) -> Mapping[str, list[StageStatus]]:
        """By stage, the status of each replica that answers in time."""
        answers = await asyncio.gather(*map(self._replicas, self._handles))
        return dict(zip(self._handles, answers, strict=True))

    async def count_engines(self) -> int:
        """How many generation replicas answer."""
        return len(await self._replicas("generation"))

    def announce_job(self) -> None:
        """Tell ingestion that a job waits. Only a hint: ingestion also polls."""
        task = spawn_detached(self._wake_ingestion())
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _replicas(self, stage: str) -> list[StageStatus]:
        try:
            async with asyncio.timeout(self._status_timeout_s):
                answers = await self._handles[stage].broadcast("status").results_async(return_exceptions=True)
        except Exception:
            return []
        return [answer for answer in answers if isinstance(answer, StageStatus)]

    async def _wake_ingestion(self) -> None:
        try:
            async with asyncio.timeout(self._status_timeout_s):
                await self._handles["ingestion"].broadcast("wake").results_async(return_exceptions=True)
        except Exception:
            logger.warning("ingestion was not told of a new job; it will find it by itself", exc_info=True)


class InferenceHandle:
    """The embedder and the reranker by themselves, for routes that offer them outside a query."""

    def __init__(self, embedding: DeploymentHandle[Any], reranking: DeploymentHandle[Any]) -> None:
        self._embedding = embedding
        self._reranking = reranking
        self._embedder = CachedStatus("embedding", embedding, STATUS_TTL_S)
        self._reranker = CachedStatus("reranking", reranking, STATUS_TTL_S)

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        return await call("embedding", self._embedding.embed.remote(list(texts), kind, **brought()), kind)

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return await call("embedding", self._embedding.count_tokens.remote(list(texts), kind))

    async def identify_embedder(self) -> EmbedderIdentity:
        return await call("embedding", self._embedding.identify.remote())

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        return await call("reranking", self._reranking.score.remote(query, list(texts), **brought()), "text")

    async def embedder(self) -> str:
        return await self._embedder.model()

    async def reranker(self) -> str:
        return await self._reranker.model()


class GenerationHandle:
    """Streams an answer from one replica over a connection of its own (see `deployments.generation.channel`).

    Closing that connection also tells the replica that its answer is no longer read. Any other abort is broadcast:
    Serve does not say which replica has the query. `host` and `ports`: where the replicas reach the ingress.
    """

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        host: str,
        *,
        ports: Sequence[int] = ANY_PORT,
        adapters: Sequence[str] = (),
        status_ttl_s: float = STATUS_TTL_S,
    ) -> None:
        self._handle = handle
        # Serve sends requests for an adapter to a replica that has it loaded.
        self._handles_by_adapter = {name: handle.options(multiplexed_model_id=ray_id(name)) for name in adapters}
        self._inbox = Inbox(host, ports)
        self._status = CachedStatus("generation", handle, status_ttl_s)
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._aborted: set[tuple[str, str]] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        began = time.perf_counter()
        answer = await self._inbox.open()
        call = self._handles_by_adapter.get(request.model, self._handle).send.remote(request, answer.address)
        self._keep(watcher := asyncio.create_task(_fail_if_lost(call, answer)))
        finished = False
        try:
            while not finished:
                delta = await answer.take()
                if began:
                    RECORDER.record(CALL_SECONDS, time.perf_counter() - began, stage="generation", work=FIRST_TEXT)
                    began = 0.0
                finished = delta.finish_reason is not None
                yield delta
        finally:
            if answer.close(finished=finished):
                # The replica now knows. Cancelling the call and a broadcast too would only delay others' aborts.
                query = request.tenant_id, request.query_id
                self._aborted.add(query)
                watcher.add_done_callback(lambda _: self._aborted.discard(query))
            elif not finished:
                call.cancel()

    def abort(self, tenant_id: str, query_id: str) -> None:
        if (tenant_id, query_id) in self._aborted:
            return
        # In the caller's context the call would be cancelled with the request that it is meant to outlive.
        abort = self._broadcast_abort(tenant_id, query_id)
        self._keep(spawn_detached(abort))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _broadcast_abort(self, tenant_id: str, query_id: str) -> None:
        try:
            async with asyncio.timeout(10):
                await self._handle.broadcast("abort", tenant_id, query_id).results_async(return_exceptions=True)
        except Exception:
            logger.warning("abort of query %s did not reach generation", query_id, exc_info=True)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await call("generation", self._handle.count_tokens.remote(list(texts)))

    async def status(self) -> StageStatus:
        return await self._status.status()


async def _fail_if_lost(call: DeploymentResponse[None], answer: Answer) -> None:
    """Fail the answer if its call fails, or ends without the answer's last delta."""
    lost = StageUnavailable(LOST)
    try:
        await call
        asyncio.get_running_loop().call_later(LAST_DELTA_GRACE_S, answer.fail, lost)
    except asyncio.CancelledError:  # the call was, by Serve
        answer.fail(lost)
    except Exception as error:  # whatever it is, the reader must not wait for its deadline
        answer.fail(translate("generation", error))
