"""The real API on scripted stages, with real SQLite and blobs in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.ingestion.config import IngestionConfig
from deployments.types import StageStatus
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.replica import ReplicaAdmission
from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig
from serve_app.outbound.config import ReachConfig, SourcesConfig
from serve_app.outbound.http import Http
from serve_app.outbound.sources import Sources
from serve_app.platform.keys import Keys, Role
from serve_app.platform.tenants import Tenants
from serve_app.query.ports import Generator
from serve_app.services.container import Services, Stores, build_services, build_stores
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig, StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM
from tests.support.pipeline import Stages
from tests.support.recorder import RecordedMetrics
from tests.support.storage import migrate

LIMITS = ApiConfig(max_body_bytes=64 * 1024, max_query_body_bytes=40_000, max_files=3, heartbeat_s=5, key_cache_s=0)
SOURCES = SourcesConfig(
    max_bytes=64 * 1024, web=ReachConfig(hosts=("127.0.0.1", "127.0.0.2"), networks=("127.0.0.1/32",), ports=(9,))
)
"""Files are read from the test's folder `named`; port 9 is one where nobody listens. Nothing outside is asked."""
WEB, WEBHOOKS = Http(SOURCES.web), Http(ReachConfig())
"""For all tests: each reads the system's certificates, which takes tens of milliseconds."""


@dataclass
class Api:
    client: httpx.AsyncClient
    stages: Stages
    services: Services
    stores: Stores
    admission: ReplicaAdmission
    rebuilt: Callable[[ApiConfig], Services]
    folder: Path
    announced: list[None]
    statuses: dict[str, list[StageStatus]] = field(default_factory=dict)
    recorder: RecordedMetrics = field(default_factory=RecordedMetrics)

    def services_with(self, **limits: Any) -> Services:
        """The same services with other limits."""
        return self.rebuilt(LIMITS.model_copy(update=limits))

    async def key(self, role: Role = "admin", tenant: str = "t") -> dict[str, str]:
        """The headers of a new key's holder."""
        secret, _ = await self.stores.keys.create_key(PLATFORM if role == "platform" else tenant, "test", role)
        return {"Authorization": f"Bearer {secret}"}

    def stored_files(self) -> list[Path]:
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as served:
        yield served


@asynccontextmanager
async def serving(folder: Path, *, fallback: Generator | None = None) -> AsyncIterator[Api]:
    database = Database(StoreConfig(url=f"sqlite:///{folder / 'rag.db'}"))
    await migrate(database)
    # Not through the services below: what they do is in the audit log, and tests look at that.
    await Tenants(database).ensure("t")
    admin, _ = await Keys(database).create_key("t", "test", role="admin")
    stages, announced, recorder = Stages(), list[None](), RecordedMetrics()
    statuses: dict[str, list[StageStatus]] = {
        name: [StageStatus(True, "fake")] for name in ("embedding", "retrieval", "reranking", "generation", "ingestion")
    }

    async def ask_stages() -> Mapping[str, list[StageStatus]]:
        return statuses

    async def read_metrics() -> str:
        return "ray_rag_questions_total 1.0\n"

    models = ("tiny", "legal")
    blobs = Blobs(BlobConfig(url=str(folder / "blobs")))
    stores = build_stores(
        database,
        blobs,
        LIMITS,
        models=models,
        chunk_sizes=IngestionConfig().chunk_sizes,
        check_webhook_url=WEBHOOKS.checked,
        recorder=recorder,
    )
    admission = ReplicaAdmission(AdmissionConfig(), initial_slots=64)
    pipeline = stages.pipeline(fallback=fallback)
    sources = Sources(SOURCES.model_copy(update={"file_roots": {str(folder / "named"): ("*",)}}), http=WEB)

    def services_of(config: ApiConfig) -> Services:
        return build_services(
            stores,
            pipeline,
            stages,
            admission,
            stages,
            sources,
            config,
            models=models,
            settle_s=1,
            ask_stages=ask_stages,
            read_metrics=read_metrics,
            announce_job=lambda: announced.append(None),
        )

    services = services_of(LIMITS)
    transport = httpx.ASGITransport(create_app(services, recorder), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://rag.test", headers={"Authorization": f"Bearer {admin}"}
    ) as client:
        yield Api(client, stages, services, stores, admission, services_of, folder, announced, statuses, recorder)
    await stores.events.drain()
    await stores.events.close()
    await database.close()
