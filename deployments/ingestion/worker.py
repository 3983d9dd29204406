"""The work behind a job: queued documents are claimed, indexed, and what came of it recorded."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from deployments.errors import StageUnavailable
from deployments.ingestion.base import BlobStore, DocumentTask, EmbedderPort, IndexPort, JobStore
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.indexing import DocumentIndexer
from deployments.ingestion.outcomes import Conclusions
from deployments.ingestion.parsing import DocumentParser
from deployments.tasks import Background
from deployments.types import DocumentVersion

logger = logging.getLogger(__name__)

REMOVED_AT_ONCE = 50
"""Versions in one round of removal."""


class Worker(Background):
    """Works on at most `concurrent_documents` documents at once, from `start` to `close`.

    `name` is what its leases are held under: unique among workers.
    """

    def __init__(
        self,
        config: IngestionConfig,
        embedder: EmbedderPort,
        index: IndexPort,
        jobs: JobStore,
        blobs: BlobStore,
        name: str,
        parser: DocumentParser | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._jobs = jobs
        self._name = name
        self._index = index
        self._blobs = blobs
        self._parser = parser or DocumentParser(config)
        self._indexer = DocumentIndexer(config, self._parser, embedder, index, jobs, blobs)
        self._conclusions = Conclusions(config, jobs)
        self._active: dict[asyncio.Task[None], DocumentTask] = {}
        self._changed = asyncio.Event()
        self.trouble: str | None = None
        """Why the last round could not ask for work; None when it could."""

    @property
    def active(self) -> int:
        """Documents being worked on."""
        return len(self._active)

    def wake(self) -> None:
        """Ask for work at once instead of at the next poll. From any thread."""
        self._call_soon(self._changed.set)

    def check(self) -> None:
        """Raises StageUnavailable if the work has ended, which only a programming error or `stop` brings about."""
        if self._running is not None and self._running.done():
            cause = None if self._running.cancelled() else self._running.exception()
            raise StageUnavailable(f"the ingestion worker has ended: {cause or 'it was stopped'}") from cause

    def stop(self) -> None:
        """End at once, from any thread; the claimed documents come back when their leases run out."""
        self._parser.close()
        super().stop()

    async def close(self) -> None:
        """End, and put the claimed documents back into the queue for another worker to take at once."""
        claimed = [*self._active.values()]
        self._parser.close()
        await super().close()
        for task in claimed:
            await self._conclusions.record(task, self._jobs.retry(task, after_s=0))

    async def _run(self) -> None:
        beside = [asyncio.create_task(self._renew_leases()), asyncio.create_task(self._remove())]
        try:
            while True:
                self._changed.clear()
                for task in await self._claim():
                    work = asyncio.create_task(self._work(task))
                    self._active[work] = task
                    work.add_done_callback(self._done)
                await self._wait()
        finally:
            ending = [*beside, *self._active]
            for each in ending:
                each.cancel()
            await asyncio.wait(ending)

    async def _claim(self) -> list[DocumentTask]:
        free = self._config.concurrent_documents - len(self._active)
        if free <= 0:
            return []
        try:
            claimed = await self._jobs.claim(self._name, lease_s=self._config.lease_s, limit=free)
        except Exception as error:
            if self.trouble is None:
                logger.exception("the job store handed out no work; asking again every %g s", self._config.poll_s)
            self.trouble = f"the job store does not answer: {error}"
            return []
        self.trouble = None
        return claimed

    async def _wait(self) -> None:
        """Until a document is done, a wake-up, or, with room for more, the next poll."""
        full = len(self._active) >= self._config.concurrent_documents
        with suppress(TimeoutError):
            async with asyncio.timeout(None if full else self._config.poll_s):
                await self._changed.wait()

    def _done(self, work: asyncio.Task[None]) -> None:
        del self._active[work]
        self._changed.set()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._config.lease_s / 3)
            if self._active:
                try:
                    await self._jobs.renew(self._name, [*self._active.values()], lease_s=self._config.lease_s)
                except Exception:
                    logger.exception("the leases of %d documents were not renewed; trying again", len(self._active))

    async def _remove(self) -> None:
        """Take out of index and blob store what no search is to find any longer."""
        while True:
            try:
                versions = await self._jobs.removable(REMOVED_AT_ONCE)
                for tenant_id in {each.tenant_id for each in versions}:
                    gone = [each for each in versions if each.tenant_id == tenant_id]
                    await self._index.delete_versions(
                        tenant_id, [DocumentVersion(each.document_id, each.version) for each in gone]
                    )
                    for each in gone:
                        if each.blob:
                            await self._blobs.delete(each.blob)
                    await self._jobs.removed(gone)
            except Exception as error:
                versions = []
                logger.warning("passages of replaced and deleted documents stay until they can be removed: %s", error)
            if len(versions) < REMOVED_AT_ONCE:
                await asyncio.sleep(self._config.remove_every_s)

    async def _work(self, task: DocumentTask) -> None:
        """One document, to its end."""
        await self._conclusions.conclude(task, lambda: self._indexer.index(task))
