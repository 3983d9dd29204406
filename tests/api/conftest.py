"""The real API on scripted stages, with real SQLite and blobs in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from deployments.types import StageStatus
from serve_app.api.app import create_app
from serve_app.config import ApiConfig
from serve_app.platform.blobs import Blobs
from serve_app.platform.collections import Collections
from serve_app.platform.config import BlobConfig, StoreConfig
from serve_app.platform.database import Database
from serve_app.platform.documents import Documents
from serve_app.platform.events import Events
from serve_app.platform.idempotency import Idempotency
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys, Role
from serve_app.platform.logs import AuditLog, QueryLog
from serve_app.platform.models import PLATFORM
from serve_app.platform.tenants import Tenants
from serve_app.services import Services
from tests.support.pipeline import Stages

LIMITS = ApiConfig(max_body_bytes=64 * 1024, max_query_body_bytes=40_000, max_files=3, heartbeat_s=5)


@dataclass
class Api:
    client: httpx.AsyncClient
    stages: Stages
    services: Services
    folder: Path
    announced: list[None]
    statuses: dict[str, list[StageStatus]] = field(default_factory=dict)

    async def key(self, role: Role = "admin", tenant: str = "t") -> dict[str, str]:
        """The headers of a new key's holder."""
        secret, _ = await self.services.keys.create_key(PLATFORM if role == "platform" else tenant, "test", role)
        return {"Authorization": f"Bearer {secret}"}

    def stored_files(self) -> list[Path]:
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as served:
        yield served


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Api]:
    database = Database(StoreConfig(url=f"sqlite:///{folder / 'rag.db'}"))
    await database.migrate()
    keys = Keys(database, cache_s=0)
    await Tenants(keys.database).ensure("t")
    admin, _ = await keys.create_key("t", "test", role="admin")
    stages, announced = Stages(), list[None]()
    statuses: dict[str, list[StageStatus]] = {
        name: [StageStatus(True, "fake")] for name in ("embedding", "retrieval", "reranking", "generation", "ingestion")
    }

    async def ask_stages() -> Mapping[str, list[StageStatus]]:
        return statuses

    blobs = Blobs(BlobConfig(url=str(folder / "blobs")))
    audit = AuditLog(database)
    events = Events((audit, QueryLog(database)))
    keys.events = events
    services = Services(
        pipeline=stages.pipeline(),
        tenants=Tenants(database, events, cache_s=0, models=("tiny", "legal")),
        keys=keys,
        collections=Collections(database, events),
        documents=Documents(database, events),
        jobs=Jobs(database, events),
        passages=stages,
        blobs=blobs,
        events=events,
        audit=audit,
        idempotency=Idempotency(database, lease_s=60),
        limits=LIMITS,
        settle_s=1,
        stages=ask_stages,
        announce=lambda: announced.append(None),
    )
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://rag.test", headers={"Authorization": f"Bearer {admin}"}
    ) as client:
        yield Api(client, stages, services, folder, announced, statuses)
    await events.drain()
    await events.close()
    await database.close()
