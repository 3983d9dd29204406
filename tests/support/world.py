"""The whole service in one process, without Ray: real API, SQLite, blobs, ingestion and embedded index; deterministic
embedder, reranker and engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.ingestion.base import DocumentTask
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.worker import Worker
from deployments.reranking.config import RerankingConfig
from deployments.reranking.deployment import Reranking
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
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
    StageStatus,
    TextDelta,
    TextKind,
    VersionCopy,
)
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.replica import ReplicaAdmission
from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig
from serve_app.outbound.config import SourcesConfig
from serve_app.outbound.sources import Sources
from serve_app.platform.events import Event, SingleEventSubscriber
from serve_app.platform.lexical_statistics import LexicalStatistics
from serve_app.platform.retention_config import RetentionConfig
from serve_app.platform.visibility import Visibility
from serve_app.query.pipeline import Pipeline
from serve_app.services.container import Services, Stores, build_services, build_stores
from serve_app.services.sweeper import Sweeper
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig, StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM
from tests.support.storage import migrate

INGESTION = IngestionConfig(concurrent_documents=1, parse_processes=1, poll_s=60, remove_every_s=0.2)
RETENTION = RetentionConfig()
SOURCES = Sources(SourcesConfig())
"""One for all: each reads the system's certificates, which takes tens of milliseconds."""


def _retrieval(folder: Path, index: str) -> RetrievalConfig:
    match index:
        case "fake":
            return RetrievalConfig(backend="fake")
        case "embedded":
            return RetrievalConfig(uri=str(folder / "index"))
        case uri:
            prefix = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
            return RetrievalConfig(uri=uri, collection_prefix=f"w{prefix}")


class Stages:
    """The stages' own classes behind the ports that handles otherwise adapt them to."""

    def __init__(self, folder: Path, index: str) -> None:
        self.embedding = Embedding(EmbeddingConfig(backend="fake"))
        self.reranking = Reranking(RerankingConfig(backend="fake"))
        self.generation = Generation(GenerationConfig(engine="extractive"))
        self.retrieval = Retrieval(_retrieval(folder, index))
        self._aborts: set[asyncio.Task[bool]] = set()

    def change_embedder(self, model: str) -> None:
        """As after a restart with another `embedding.model`."""
        self.embedding = Embedding(EmbeddingConfig(backend="fake", model=model))

    async def embed_query(self, text: str) -> Embeddings:
        return await self.embedding.embed([text], "query")

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return await self.embedding.embed(texts, "passage")

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        return await self.embedding.embed(texts, kind)

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return await self.embedding.count_tokens(texts, kind)

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        return await self.reranking.score(query, texts)

    async def embedder(self) -> str:
        return (await self.embedding.status()).model or ""

    async def reranker(self) -> str:
        return (await self.reranking.status()).model or ""

    async def identify_embedder(self) -> EmbedderIdentity:
        return await self.embedding.identify()

    async def describe(self) -> EmbedderInfo:
        return await self.embedding.describe()

    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        return await self.retrieval.search(request)

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        await self.retrieval.upsert(generation, entries)

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        return await self.retrieval.read(tenant_id, document_id, version, generation, after, limit)

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        return await self.retrieval.copy(tenant_id, copy, generation, after, limit)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await self.retrieval.delete(tenant_id, document_id)

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await self.retrieval.delete_versions(tenant_id, versions)

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        return await self.retrieval.purge(tenant_id, collection, generation)

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await self.retrieval.measure(tenant_id, generation)

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        return await self.reranking.rerank(query, language, candidates)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        async for delta in self.generation.generate(request):
            yield delta

    def abort(self, tenant_id: str, query_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self.generation.abort(tenant_id, query_id))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self.generation.count_tokens(texts)

    async def status(self) -> StageStatus:
        return await self.generation.status()


class Concluded(SingleEventSubscriber):
    """Tells, by job, that one of its documents has come to an end."""

    name = "the test"
    types = frozenset({"document.indexed", "document.failed"})

    def __init__(self) -> None:
        self.jobs: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def handle(self, events: Sequence[Event]) -> None:
        [event] = events
        self.jobs[event.details["job_id"]].set()


@dataclass
class World:
    """`keys`: each tenant's current admin key. While `held` is set, accepted documents stay queued; otherwise a job has
    `patience_s` to be done."""

    client: httpx.AsyncClient
    services: Services
    stores: Stores
    stages: Stages
    folder: Path
    platform_key: str
    worker: Worker
    concluded: Concluded
    sweeper: Sweeper
    held: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    patience_s: float = 120

    def announce(self) -> None:
        if not self.held:
            self.worker.wake()

    def resume(self) -> None:
        self.held = False
        self.worker.wake()

    async def call(
        self, tenant: str, method: str, path: str, *, key: str | None = None, **request: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.keys[tenant]}", **request.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **request)

    async def manage(self, method: str, path: str, **request: Any) -> httpx.Response:
        """As the platform."""
        headers = {"Authorization": f"Bearer {self.platform_key}", **request.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **request)

    async def add_tenant(self, tenant: str, **body: Any) -> None:
        (await self.manage("POST", "/v1/tenants", json={"id": tenant, **body})).raise_for_status()
        headers = {"X-Tenant-ID": tenant}
        made = await self.manage("POST", "/v1/keys", json={"role": "admin", "name": "first"}, headers=headers)
        self.keys[tenant] = made.raise_for_status().json()["secret"]

    async def settled(self, tenant: str, job_id: str) -> dict[str, Any]:
        """The job once it is done. It is asked for when there is news of it: each look is three transactions."""
        news = self.concluded.jobs[job_id]
        async with asyncio.timeout(self.patience_s):
            while True:
                with suppress(TimeoutError):  # of documents that were given up there is no news
                    async with asyncio.timeout(0.3):
                        await news.wait()
                self.announce()  # again, as the worker may have asked in vain
                # Not by `self.call`: how often it looks is no part of what is asked (`recorded.py`).
                job: dict[str, Any] = (await World.call(self, tenant, "GET", f"/v1/jobs/{job_id}")).json()
                if job.get("state") not in ("queued", "running"):
                    return job
                news.clear()

    async def told(self) -> None:
        """Once what happened has been told to all who listen."""
        await self.stores.events.drain()

    async def sweep(self) -> None:
        """Remove what has been kept long enough, as one of the ingress replicas does."""
        await self.sweeper.sweep()

    async def take(self, tenant: str) -> list[DocumentTask]:
        """A tenant's documents, for a worker that then does nothing with them."""
        taken = []
        for task in await self.stores.jobs.queue.claim("another worker", lease_s=60, limit=100):
            if task.tenant_id == tenant:
                taken.append(task)
            else:
                await self.stores.jobs.queue.retry(task, after_s=0)
        return taken

    async def lose_bytes(self, tenant: str, document_id: str) -> None:
        """Remove a document's bytes as nobody but a disk would."""
        await self.stores.blobs.delete((await self.stores.documents.get(tenant, document_id)).blob)

    async def give_back(self, tasks: Sequence[DocumentTask]) -> None:
        for task in tasks:
            await self.stores.jobs.queue.retry(task, after_s=0)

    async def put(self, tenant: str, **document: Any) -> httpx.Response:
        """Hand a document in and wait until it is indexed or failed."""
        answer = await self.call(tenant, "POST", "/v1/documents", json=document)
        if answer.status_code == 202:
            await self.settled(tenant, answer.json()["job_id"])
        return answer


@asynccontextmanager
async def world(
    folder: Path,
    *,
    index: str = "embedded",
    limits: ApiConfig | None = None,
    ingestion: IngestionConfig = INGESTION,
    retention: RetentionConfig = RETENTION,
    parser: DocumentParser | None = None,
    kind: type[World] = World,
) -> AsyncIterator[World]:
    """An empty one. `index`: embedded, fake or a Milvus server's URI. `parser`: one that several worlds share; the
    first that ends closes it."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    database = Database(StoreConfig(url=f"sqlite:///{folder / 'rag.db'}"))
    await migrate(database)
    stages, blobs = Stages(folder, index), Blobs(BlobConfig(url=str(folder / "blobs")))
    limits = limits or ApiConfig(key_cache_s=0)

    async def ask_stages() -> Mapping[str, list[StageStatus]]:
        return {"generation": [await stages.generation.status()]}

    async def read_metrics() -> str:
        return ""

    stores = build_stores(
        database,
        blobs,
        limits,
        models=(),
        chunk_sizes=ingestion.chunk_sizes,
        check_webhook_url=str,
        retention=retention,
    )
    services = build_services(
        stores,
        Pipeline(
            stages,
            LexicalStatistics(database),
            Visibility(database),
            stages,
            stages,
            stages,
            context_tokens=16_384,
            embedding_s=5,
            reranking_s=5,
        ),
        stages,
        ReplicaAdmission(AdmissionConfig(), initial_slots=64),
        stages,
        SOURCES,
        limits,
        models=(),
        settle_s=0.5,
        ask_stages=ask_stages,
        read_metrics=read_metrics,
        announce_job=lambda: made.announce(),
    )
    concluded = Concluded()
    stores.events.subscribers += (concluded,)
    worker = Worker(ingestion, stages, stages, stores.jobs.queue, blobs, "worker", parser)
    secret, _ = await stores.keys.create_key(PLATFORM, "platform", "platform")
    transport = httpx.ASGITransport(create_app(services))
    worker.start()
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.test", timeout=60) as client:
            sweeper = Sweeper(stores.retention, blobs, "sweeper")
            made = kind(client, services, stores, stages, folder, secret, worker, concluded, sweeper)
            yield made
    finally:
        await stores.events.drain()
        await stores.events.close()
        await worker.close()
        stages.retrieval.__del__()
        await database.close()
