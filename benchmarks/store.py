"""How long the SQL store's operations take among a million documents of many tenants, on SQLite and on PostgreSQL.

Sixteen clients run each operation beside one another. A deletion is measured by what all other clients wait meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.util import await_only

from benchmarks.service import PREFIX, report
from benchmarks.store_rows import FOLDER, LARGE, Size, fill
from deployments.filters import parse
from deployments.ingestion.base import DocumentTask, IndexedDocument
from deployments.ingestion.fake import MemoryBlobStore
from deployments.types import DocumentVersion, Scope
from serve_app.config.args import ApiConfig
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents, Selection
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.lexical_statistics import LexicalStatistics
from serve_app.platform.new_document import NewDocument
from serve_app.platform.tenants import Tenants
from serve_app.platform.visibility import Visibility
from serve_app.services.access import Access
from serve_app.services.deletion import DeletionService
from serve_app.services.limits import RequestLimits
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support import postgresql

CLIENTS: Final = 16
GOAL_MS: Final = 100.0
"""What 95 of 100 calls may take. Of a deletion it counts what others wait meanwhile."""
_ALONE: Final = 3
"""Calls without other clients, by which rows read are counted."""
_ROOM: Final = 2_000
"""Documents that may wait beside those that are there: uploads are measured, and not their refusal."""
_STEPS: Final = 10
"""Instructions of SQLite's machine between two counts."""

Operation = Callable[[str], Awaitable[object]]
"""Does one thing for a tenant."""


class NoPassages:
    """An index that has nothing and answers at once."""

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return 0

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return 0

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        return 0


class NoBlobs(MemoryBlobStore):
    async def delete_tenant(self, tenant_id: str) -> tuple[int, int]:
        return 0, 0


@dataclass
class Store:
    """The stores of one replica on one database. `rng` chooses tenants and documents."""

    database: Database
    size: Size
    rng: random.Random
    tasks: list[DocumentTask] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    names: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.documents, self.collections = Documents(self.database), Collections(self.database)
        self.jobs = Jobs(self.database, max_waiting=self.size.waiting_of_large() + _ROOM)
        self.tenants = Tenants(self.database)
        self.visibility, self.lexical = Visibility(self.database), LexicalStatistics(self.database)
        passages: Any = NoPassages()
        blobs: Any = NoBlobs()
        unused: Any = None
        self.deletion = DeletionService(
            document_service=unused,
            documents=self.documents,
            tenants=self.tenants,
            keys=Keys(self.database),
            queue=self.jobs.queue,
            blobs=blobs,
            passages=passages,
            limits=RequestLimits(ApiConfig()),
            settle_s=30,
        )

    def tenant(self) -> str:
        """Half of all calls are the large tenant's."""
        return LARGE if self.rng.random() < 0.5 else f"t{self.rng.randrange(1, self.size.tenants)}"

    def document(self, tenant: str) -> str:
        """A document of the tenant outside the collection that is deleted."""
        number = int(tenant.removeprefix("t"))
        if tenant == LARGE:
            return f"d{self.rng.randrange(self.size.folder, self.size.large)}"
        ordinal = self.rng.randrange(self.size.documents_of(number))
        return f"d{self.size.large + ordinal * (self.size.tenants - 1) + number - 1}"

    def job(self, tenant: str) -> str:
        ordinal = self.rng.randrange(self.size.documents_of(int(tenant.removeprefix("t"))))
        return f"job_{tenant}_{ordinal // 10}"

    async def list(self, tenant: str) -> None:
        await self.documents.page(tenant, Selection(), after=self.document(tenant))

    async def list_filtered(self, tenant: str) -> None:
        """A filter that no document passes: the page ends where a page may end."""
        await self.documents.page(
            tenant, Selection(filter=parse("metadata.kind == 'none'")), after=self.document(tenant)
        )

    async def list_collection(self, tenant: str) -> None:
        await self.documents.page(tenant, Selection(collection=f"c{self.rng.randrange(1, 10)}"))

    async def list_owner(self, tenant: str) -> None:
        await self.documents.page(tenant, Selection(owner="nobody"))

    async def list_collections(self, tenant: str) -> None:
        await self.collections.list(tenant)

    async def list_jobs(self, tenant: str) -> None:
        await self.jobs.page(tenant, after=self.job(tenant))

    async def list_failed_jobs(self, tenant: str) -> None:
        """A state that no job has."""
        await self.jobs.page(tenant, state="failed")

    async def summary(self, tenant: str) -> None:
        """What a stream of a job's events reads."""
        await self.jobs.summary(tenant, self.job(tenant))

    async def upload(self, tenant: str) -> None:
        """One new document of a tenant with quotas."""
        number = next(self.names)
        await self.jobs.accept(
            tenant, [NewDocument(id=f"new{number}", content_hash=f"{number:064d}", blob=f"b/{number}", size=2_000)]
        )

    async def claim(self, tenant: str) -> None:
        self.tasks += await self.jobs.queue.claim("worker", lease_s=600, limit=4)

    async def progress(self, tenant: str) -> None:
        await self.jobs.queue.progress(self.rng.choice(self.tasks), "embedding")

    async def finish(self, tenant: str) -> None:
        if self.tasks:
            terms = dict.fromkeys(range(100), 1)
            await self.jobs.queue.finish(self.tasks.pop(), IndexedDocument("Title", "hr", 4, terms, "e5", ""))

    async def give_back(self) -> None:
        """End all claims, since a tenant's deletion waits for them."""
        while self.tasks:
            await self.jobs.queue.retry(self.tasks.pop(), after_s=0)

    async def search_reads(self, tenant: str) -> None:
        await asyncio.gather(
            self.visibility.visible_versions(tenant),
            self.lexical.query_weights("Koji je rok za žalbu protiv rješenja?", "hr", Scope(tenant, "ana")),
        )

    async def delete_document(self, tenant: str) -> None:
        while (document := self.document(tenant)) in self.gone:
            pass
        self.gone.add(document)
        await self.deletion.delete_document(await self.access(tenant), document)

    async def delete_folder(self, tenant: str) -> None:
        await self.deletion.delete_collection(await self.access(tenant), FOLDER)

    async def delete_tenant(self, tenant: str) -> None:
        await self.deletion.delete_tenant(tenant)

    async def access(self, tenant: str) -> Access:
        return Access(await self.tenants.active(tenant), "admin", "key")

    async def sweep(self, tenant: str) -> None:
        """What an ingestion worker looks for every few seconds."""
        queue = self.jobs.queue
        await queue.forget_removed(await queue.list_removable(50))
        await queue.list_retired(50)
        await queue.switch_generations()


@dataclass
class Bench:
    """`calls` of each operation, begun at `rate` a second by all clients together; 0: as fast as they can."""

    store: Store
    calls: int
    rate: float
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def database(self) -> str:
        return "sqlite" if self.store.database.config.embedded else "postgresql"

    async def measure(self, name: str, operation: Operation) -> None:
        """Time an operation in all clients at once."""
        rows = await self._alone(operation)
        times, failures = [float(0)] * 0, 0
        left = iter(range(self.calls))

        async def client() -> None:
            nonlocal failures
            for _ in left:
                await self._pause()
                try:
                    times.append(await _timed(operation, self.store.tenant()))
                except Exception as error:
                    failures += 1
                    print(f"{self.database} {name}: {error!r}", flush=True)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        self._add(name, times, failures, rows)

    async def delete(self, name: str, deletion: Operation, others: Sequence[Operation]) -> None:
        """Time a deletion, and the calls that others make for other tenants meanwhile."""
        times: list[float] = []
        failures, over = 0, asyncio.Event()

        async def client() -> None:
            nonlocal failures
            while not over.is_set():
                await self._pause()
                tenant = f"t{self.store.rng.randrange(1, self.store.size.tenants)}"
                try:
                    times.append(await _timed(self.store.rng.choice(others), tenant))
                except Exception as error:
                    failures += 1
                    print(f"{self.database} beside {name}: {error!r}", flush=True)

        clients = [asyncio.create_task(client()) for _ in range(CLIENTS - 1)]
        began = time.monotonic()
        try:
            await deletion(LARGE)
        except Exception as error:
            failures += 1
            print(f"{self.database} {name}: {error!r}", flush=True)
        seconds = time.monotonic() - began
        over.set()
        await asyncio.gather(*clients)
        self._add(name, times, failures, {}, seconds=round(seconds, 2))

    async def _pause(self) -> None:
        if self.rate:
            await asyncio.sleep(self.store.rng.expovariate(self.rate / CLIENTS))

    async def _alone(self, operation: Operation) -> dict[str, float]:
        with _steps(self.store.database) as steps:
            before = await self._rows_read()
            for number in range(_ALONE):
                await operation(LARGE if number % 2 == 0 else self.store.tenant())
            after = await self._rows_read()
        if self.database == "sqlite":
            return {"steps": round(steps[0] / _ALONE)}
        return {"rows_read": round((after - before) / _ALONE)}

    async def _rows_read(self) -> float:
        """Rows and index entries that PostgreSQL has read so far. A connection tells its own when it is closed."""
        await self.store.database.close()
        if self.database == "sqlite":
            return 0
        await asyncio.sleep(0.2)
        [(read,)] = await self.store.database.rows(
            text(
                "SELECT (SELECT COALESCE(SUM(seq_tup_read), 0) FROM pg_stat_user_tables) "
                "+ (SELECT COALESCE(SUM(idx_tup_read), 0) FROM pg_stat_user_indexes)"
            )
        )
        return float(read)

    def _add(self, name: str, times: Sequence[float], failures: int, more: dict[str, float], **other: float) -> None:
        milliseconds = sorted(1_000 * each for each in times) or [0.0]
        entry = {
            "operation": f"{self.database}.{name}",
            "calls": len(times),
            "failed": failures,
            "p50_ms": round(statistics.median(milliseconds), 1),
            "p95_ms": round(milliseconds[int(0.95 * (len(milliseconds) - 1))], 1),
            "max_ms": round(milliseconds[-1], 1),
            **more,
            **other,
        }
        self.entries.append(entry)
        print(json.dumps(entry), flush=True)


async def _timed(operation: Operation, tenant: str) -> float:
    began = time.monotonic()
    await operation(tenant)
    return time.monotonic() - began


@contextmanager
def _steps(database: Database) -> Iterator[list[int]]:
    """Counts instructions of SQLite's virtual machine on the connections that the block opens: rows times a few."""
    counted = [0]

    def count() -> int:
        counted[0] += _STEPS
        return 0

    def connect(connection: Any, record: Any) -> None:
        await_only(connection.driver_connection.set_progress_handler(count, _STEPS))

    make = database._engine

    def engine() -> Any:
        made = make()
        if database.config.embedded and not event.contains(made.sync_engine, "connect", connect):
            event.listen(made.sync_engine, "connect", connect)
        return made

    database._engine = engine  # type: ignore[method-assign]
    try:
        yield counted
    finally:
        del database._engine


async def run(config: StoreConfig, size: Size, calls: int, rate: float, only: Sequence[str]) -> list[dict[str, Any]]:
    database = Database(config)
    await database.migrate()
    began = time.monotonic()
    await fill(config, size)
    print(f"{size} made in {time.monotonic() - began:.0f} s", flush=True)
    store = Store(database, size, random.Random(1))
    bench = Bench(store, calls, rate)
    try:
        plain: dict[str, Operation] = {
            name: getattr(store, name)
            for name in (
                "list", "list_filtered", "list_collection", "list_owner", "list_collections", "list_jobs",
                "list_failed_jobs", "summary", "search_reads", "upload", "claim", "progress", "finish", "sweep",
                "delete_document",
            )
        }  # fmt: skip
        for name, operation in plain.items():
            if not only or name in only:
                await bench.measure(name, operation)
        await store.give_back()
        others = [store.list, store.list_collections, store.summary, store.search_reads, store.upload]
        deletions: dict[str, Operation] = {
            "delete_collection": store.delete_folder,
            "delete_tenant": store.delete_tenant,
        }
        for name, deletion in deletions.items():
            if not only or name in only:
                await bench.delete(name, deletion, others)
    finally:
        await database.close()
    return bench.entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000, help="documents of one tenant")
    parser.add_argument("--folder", type=int, default=6_000, help="documents of the collection that is deleted")
    parser.add_argument("--calls", type=int, default=400, help="calls of each operation")
    parser.add_argument("--rate", type=float, default=40, help="calls a second, of all clients; 0: no pauses")
    parser.add_argument("--only", nargs="*", default=(), help="operations; by default all")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="by default both")
    given = parser.parse_args()
    size = Size(given.documents, given.tenants, given.large, given.folder)
    entries: list[dict[str, Any]] = []
    if given.database in (None, "sqlite"):
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            store = StoreConfig(url=f"sqlite:///{Path(folder) / 'rag.db'}")
            entries += asyncio.run(run(store, size, given.calls, given.rate, given.only))
    if given.database in (None, "postgresql"):
        with postgresql.running() as servers:
            store = servers.store(servers.create(), pooled=False)
            entries += asyncio.run(run(store, size, given.calls, given.rate, given.only))
    slow = [entry["operation"] for entry in entries if entry["p95_ms"] > GOAL_MS or entry["failed"]]
    report({"operations": entries, "documents": size.documents, "slow": len(slow), "slow_names": slow})


if __name__ == "__main__":
    main()
