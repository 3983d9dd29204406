"""DeploymentHandle → port adapters: the only place where the service calls its stages.

Errors come back as a mix of RayTaskError and the stage's own class, whose text is a remote traceback; here they
become plain RagErrors. Deadlines are the pipeline's: it cancels the awaits in here, and Serve the replica's task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
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
from deployments.generation.channel import Answer, Inbox
from deployments.tasks import spawn_detached
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderInfo,
    Embeddings,
    GenerationRequest,
    IndexEntry,
    Language,
    Passage,
    RetrievalRequest,
    StageStatus,
    TextDelta,
    TextKind,
    VersionCopy,
)
from serve_app.admission.protocol import Grant, Report

T = TypeVar("T")
STATUS_TTL_S = 10.0
LAST_PIECE_S = 2.0
"""How much later than the end of its call an answer's last piece may come: the two go different ways."""
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


def plain(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """The handle with the standard library's pickle, where calls go by gRPC. Serve's own choice can send what pickle
    cannot, as stages never do, and takes many times as long for each piece of a stream."""
    return handle.options(request_serialization="pickle", response_serialization="pickle")


async def call(stage: str, response: Awaitable[T]) -> T:
    """Await a handle's response; whatever the stage raised arrives as a RagError."""
    try:
        return await response
    except (RagError, RayError, RayServeException) as error:
        raise translate(stage, error) from None


@dataclass(frozen=True, slots=True)
class EmbeddingHandle:
    """Port of the pipeline (questions) and of ingestion (passages)."""

    handle: DeploymentHandle[Any]

    async def embed_query(self, text: str) -> Embeddings:
        return await call("embedding", self.handle.embed.remote([text], "query"))

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return await call("embedding", self.handle.embed.remote(list(texts), "passage"))

    async def describe(self) -> EmbedderInfo:
        return await call("embedding", self.handle.describe.remote())


@dataclass(frozen=True, slots=True)
class RetrievalHandle:
    """Port of the pipeline (retrieve), of ingestion (upsert, delete) and of documents' routes."""

    handle: DeploymentHandle[Any]

    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        return await call("retrieval", self.handle.search.remote(request))

    async def upsert(self, embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None:
        await call("retrieval", self.handle.upsert.remote(embedder, list(entries)))

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]:
        return await call("retrieval", self.handle.read.remote(tenant_id, document_id, version, after, limit))

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int:
        return await call("retrieval", self.handle.copy.remote(tenant_id, copy, after, limit))

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await call("retrieval", self.handle.delete.remote(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await call("retrieval", self.handle.delete_versions.remote(tenant_id, list(versions)))

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        return await call("retrieval", self.handle.purge.remote(tenant_id, collection))


@dataclass(frozen=True, slots=True)
class RerankingHandle:
    handle: DeploymentHandle[Any]

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        return await call("reranking", self.handle.rerank.remote(query, language, list(candidates)))


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


class KnownStatus:
    """A stage's status as it was within the last `ttl_s` seconds."""

    def __init__(self, stage: str, handle: DeploymentHandle[Any], ttl_s: float) -> None:
        self._stage = stage
        self._handle = handle
        self._ttl_s = ttl_s
        self._status: tuple[float, StageStatus] | None = None

    async def status(self) -> StageStatus:
        if self._status is None or time.monotonic() - self._status[0] > self._ttl_s:
            self._status = time.monotonic(), await call(self._stage, self._handle.status.remote())
        return self._status[1]


class InferenceHandle:
    """The embedder and the reranker by themselves, for routes that offer them so."""

    def __init__(self, embedding: DeploymentHandle[Any], reranking: DeploymentHandle[Any]) -> None:
        self._embedding = embedding
        self._reranking = reranking
        self._embedder = KnownStatus("embedding", embedding, STATUS_TTL_S)
        self._reranker = KnownStatus("reranking", reranking, STATUS_TTL_S)

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        return await call("embedding", self._embedding.embed.remote(list(texts), kind))

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return await call("embedding", self._embedding.count_tokens.remote(list(texts), kind))

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        return await call("reranking", self._reranking.score.remote(query, list(texts)))

    async def embedder(self) -> str:
        return _model(await self._embedder.status())

    async def reranker(self) -> str:
        return _model(await self._reranker.status())


def _model(status: StageStatus) -> str:
    return status.model or status.engine


class GenerationHandle:
    """Streams from one replica, past Serve (see `deployments.generation.channel`), which is also told there that its
    answer is no longer read. Other aborts go to all replicas, since only one of them knows the query, and which is
    Serve's secret. `host`: where the ingress can be reached by the replicas."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        host: str,
        *,
        adapters: Sequence[str] = (),
        status_ttl_s: float = STATUS_TTL_S,
    ) -> None:
        self._handle = handle
        # Serve sends requests for an adapter to a replica that has it loaded.
        self._adapted = {name: handle.options(multiplexed_model_id=name) for name in adapters}
        self._inbox = Inbox(host)
        self._serving = KnownStatus("generation", handle, status_ttl_s)
        self._beside: set[asyncio.Task[None]] = set()
        self._told: set[tuple[str, str]] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        answer = await self._inbox.open()
        call = self._adapted.get(request.model, self._handle).send.remote(request, answer.address)
        self._keep(over := asyncio.create_task(_until_over(call, answer)))
        finished = False
        try:
            while not finished:
                delta = await answer.take()
                finished = delta.finish_reason is not None
                yield delta
        finally:
            if answer.close(finished=finished):
                # A cancelled call and a broadcast would take longer to say the same, and keep others' hang-ups waiting.
                query = request.tenant_id, request.query_id
                self._told.add(query)
                over.add_done_callback(lambda _: self._told.discard(query))
            elif not finished:
                call.cancel()

    def abort(self, tenant_id: str, query_id: str) -> None:
        if (tenant_id, query_id) in self._told:
            return
        # In the caller's context the call would be cancelled with the request that it is meant to outlive.
        abort = self._broadcast_abort(tenant_id, query_id)
        self._keep(spawn_detached(abort))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _broadcast_abort(self, tenant_id: str, query_id: str) -> None:
        try:
            async with asyncio.timeout(10):
                await self._handle.broadcast("abort", tenant_id, query_id).results_async(return_exceptions=True)
        except Exception:
            logger.warning("abort of query %s did not reach generation", query_id, exc_info=True)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await call("generation", self._handle.count_tokens.remote(list(texts)))

    async def status(self) -> StageStatus:
        return await self._serving.status()


async def _until_over(call: DeploymentResponse[None], answer: Answer) -> None:
    """Tell who awaits the answer if its call fails, or ends and the end of the answer does not come."""
    lost = StageUnavailable("generation lost its connection to the ingress; ask again")
    try:
        await call
        asyncio.get_running_loop().call_later(LAST_PIECE_S, answer.fail, lost)
    except (RagError, RayError, RayServeException) as error:
        answer.fail(translate("generation", error))
    except asyncio.CancelledError:  # the call was, by Serve
        answer.fail(lost)


async def ask_replicas(handle: DeploymentHandle[Any], timeout_s: float) -> list[StageStatus]:
    """The status of every replica that answers within the time; empty when none does."""
    try:
        async with asyncio.timeout(timeout_s):
            answers = await handle.broadcast("status").results_async(return_exceptions=True)
    except Exception:
        return []
    return [answer for answer in answers if isinstance(answer, StageStatus)]
