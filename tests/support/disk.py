"""Random work on documents, with crashes, and what it leaves on the disk against the tenant's quota."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from sqlalchemy import select

from deployments.errors import NotFound, QuotaExceeded, RateLimited
from deployments.ingestion.base import DocumentTask
from serve_app.config.args import ApiConfig
from serve_app.platform import usage
from serve_app.platform.collections import Collections
from serve_app.platform.document_ids import digest
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.stored_blobs import UPLOAD_S
from serve_app.platform.tenants import Tenants
from serve_app.schemas.documents import DocumentFields
from serve_app.services.access import Access
from serve_app.services.deletion import DeletionService
from serve_app.services.documents import DocumentService, new_upload
from serve_app.services.limits import RequestLimits
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig
from serve_app.storage.database import Database
from serve_app.storage.tables import Document, JobDocument, StoredBlob, is_unfinished
from tests.support.storage import Clock, EmptyIndex, indexed

QUOTA: Final = 1_000_000
_LARGEST: Final = 300_000
"""Bytes of one document at most."""
_NAMES: Final = 8
_LEASE_S: Final = 30.0


class Crash(BaseException):
    """The process ends here."""


class _Index(EmptyIndex):
    async def delete(self, tenant_id: str, document_id: str) -> int:
        return 0


@dataclass
class Disk:
    """One tenant `a` of a migrated database, and its bytes in `folder`. Raises AssertionError where these are over its
    quota by more than one upload, or where bytes lie on the disk of which no row tells."""

    database: Database
    folder: Path
    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    tasks: list[DocumentTask] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    largest_upload: int = 0
    most: int = 0
    """The most bytes that were on the disk."""
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.blobs = Blobs(BlobConfig(url=str(self.folder)))
        self.jobs = Jobs(self.database, clock=self.clock)
        self.documents = Documents(self.database, clock=self.clock)
        self.tenants = Tenants(self.database)
        index: Any = _Index()
        sources: Any = None
        limits = RequestLimits(ApiConfig())
        self.service = DocumentService(
            store=self.documents,
            jobs=self.jobs,
            collections=Collections(self.database),
            blobs=self.blobs,
            passages=index,
            sources=sources,
            limits=limits,
            announce_job=lambda: None,
        )
        self.deletion = DeletionService(
            document_service=self.service,
            documents=self.documents,
            tenants=self.tenants,
            keys=Keys(self.database),
            queue=self.jobs.queue,
            blobs=self.blobs,
            passages=index,
            limits=limits,
            settle_s=1,
        )

    async def work(self, operations: int) -> None:
        await self.tenants.patch("a", settings={"quotas": {"bytes": QUOTA}})
        self.access = Access(await self.tenants.active("a"), "admin", "key")
        kinds = {
            self.upload: 8, self.crash: 2, self.claim: 5, self.finish: 5, self.fail: 1, self.lose: 1, self.cancel: 2,
            self.delete: 2, self.sweep: 2, self.wait: 2,
        }  # fmt: skip
        for _ in range(operations):
            [operation] = self.rng.choices([*kinds], [*kinds.values()])
            await self._do(operation)
            await self._check()

    async def settle(self) -> None:
        """End all work and remove what is due. Raises AssertionError if bytes are left that no document needs."""
        while tasks := await self.jobs.queue.claim("last", lease_s=_LEASE_S, limit=100):
            for task in tasks:
                await self.jobs.queue.finish(task, indexed({}))
        self.clock.advance(UPLOAD_S)
        await self.sweep()
        for file in self.folder.glob(".incoming-*"):
            os.utime(file, (0, 0))  # as a while later
        await self.blobs.remove_unfinished(UPLOAD_S)
        async with self.database.session() as session:
            needed = {*await session.scalars(select(Document.blob).where(Document.version != ""))}
            rows = {*await session.scalars(select(StoredBlob.key))}
        assert {key for key, _ in self._files()} == needed == rows

    async def _do(self, operation: Callable[[], Awaitable[None]]) -> None:
        name = operation.__name__
        try:
            await operation()
        except (QuotaExceeded, RateLimited, NotFound) as refused:
            name = f"{name}: {refused.code}"
        self.counts[name] = self.counts.get(name, 0) + 1

    async def upload(self) -> None:
        """New documents, other versions of such that are there, or the same ones again."""
        texts = {f"d{self.rng.randrange(_NAMES)}": self._text() for _ in range(self.rng.randint(1, 2))}
        self.largest_upload = max(self.largest_upload, sum(map(len, texts.values())))
        uploads = [new_upload(text, DocumentFields(), id=id) for id, text in texts.items()]
        accepted = await self.service.accept(self.access, uploads, bulk=False)
        self.job_ids.append(accepted.id)

    def _text(self) -> bytes:
        return digest(str(self.rng.randrange(40))).encode() * self.rng.choice((10, 1_000, _LARGEST // 64))

    async def crash(self) -> None:
        """In the middle of an upload: before its bytes, beside half of them, behind them, or when it is accepted."""
        place = self.rng.choice(("write", "half", "accept", "accepted"))
        accept, write = self.jobs.accept, self.blobs.write

        async def ends(*args: Any, **options: Any) -> Any:
            if place == "half":
                self.folder.mkdir(exist_ok=True)
                (self.folder / f".incoming-{self.rng.randrange(10**9)}").write_bytes(b"half")
            if place == "accepted":
                await accept(*args, **options)
            raise Crash

        target: Any = self.blobs if place in ("write", "half") else self.jobs
        try:
            with mock.patch.object(target, "write" if target is self.blobs else "accept", ends):
                await self.upload()
        except Crash:
            pass
        assert (self.jobs.accept, self.blobs.write) == (accept, write)

    async def claim(self) -> None:
        self.tasks += await self.jobs.queue.claim("w", lease_s=_LEASE_S, limit=self.rng.randint(1, 3))

    async def finish(self) -> None:
        for task in self._taken():
            try:
                await self.jobs.queue.finish(task, indexed({}))
            except Exception as error:  # as a worker does
                await self.jobs.queue.fail(task, "cancelled", str(error))

    async def fail(self) -> None:
        for task in self._taken():
            await self.jobs.queue.fail(task, "broken_document", "broken")

    async def lose(self) -> None:
        """A worker ends without a word."""
        self.tasks.clear()
        self.clock.advance(_LEASE_S + 1)

    def _taken(self) -> list[DocumentTask]:
        return [self.tasks.pop(self.rng.randrange(len(self.tasks)))] if self.tasks else []

    async def cancel(self) -> None:
        if self.job_ids:
            await self.jobs.cancel("a", self.rng.choice(self.job_ids[-4:]))

    async def delete(self) -> None:
        await self.deletion.delete_document(self.access, f"d{self.rng.randrange(_NAMES)}")

    async def sweep(self) -> None:
        """As an ingestion worker does every few seconds."""
        while blobs := await self.jobs.queue.list_removable_blobs(50):
            for blob in blobs:
                await self.blobs.delete(blob.key)
            await self.jobs.queue.forget_blobs(blobs)

    async def wait(self) -> None:
        self.clock.advance(self.rng.choice((5, 60, 400)))

    def _files(self) -> list[tuple[str, int]]:
        """(key, size) of each file that is written whole."""
        files = self.folder.glob("*/*") if self.folder.is_dir() else ()
        return [(str(file.relative_to(self.folder)), file.stat().st_size) for file in files]

    async def _check(self) -> None:
        files = dict(self._files())
        stored = sum(files.values())
        self.most = max(self.most, stored)
        assert stored <= QUOTA + self.largest_upload, f"{stored} bytes are on the disk"
        async with self.database.session() as session:
            rows = {row.key: row.size for row in await session.scalars(select(StoredBlob))}
            counted = await usage.read(session, "a")
            documents = [*await session.scalars(select(Document.id))]
            needed = {*await session.scalars(select(Document.blob).where(Document.version != ""))}
            going_on = (is_unfinished(), JobDocument.given_up.is_(False))
            needed |= {*await session.scalars(select(JobDocument.blob).where(*going_on))}
        assert files.keys() <= rows.keys(), "bytes without a row"
        assert needed <= files.keys(), "bytes that a document needs are gone"
        assert (counted.bytes, counted.documents) == (sum(rows.values()), len(documents))
