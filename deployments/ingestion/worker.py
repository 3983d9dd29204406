"""The worker behind jobs: claims queued documents, indexes them, and removes what is no longer to be found."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from deployments.errors import StageUnavailable
from deployments.ingestion.base import BlobStore, DocumentTask, EmbedderPort, IndexPort, JobStore
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.document_trace import document_span
from deployments.ingestion.indexing import DocumentIndexer
from deployments.ingestion.outcomes import OutcomeRecorder
from deployments.ingestion.parsing import DocumentParser
from deployments.tasks import Background
from deployments.types import DocumentVersion

logger = logging.getLogger(__name__)

REMOVAL_BATCH = 50
"""Versions and uploads in one round of removal."""


class Worker(Background):
    """Indexes at most `concurrent_documents` documents at once, from `start` to `close`.

    `name` must be unique among workers: leases are held under it.
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
        self._outcomes = OutcomeRecorder(config, jobs)
        self._active: dict[asyncio.Task[None], DocumentTask] = {}
        self._changed = asyncio.Event()
        self._refilled = asyncio.Event()
        self.trouble: str | None = None
        """Why the last request for work failed; None when it succeeded."""

    @property
    def active(self) -> int:
        """Documents being indexed now."""
        return len(self._active)

    def wake(self) -> None:
        """Ask for work at once instead of at the next poll. From any thread."""
        self._call_soon(self._changed.set)

    def check(self) -> None:
        """Raises StageUnavailable if the worker's task has ended: it was stopped, or failed by a programming error."""
        if self._running is not None and self._running.done():
            cause = None if self._running.cancelled() else self._running.exception()
            raise StageUnavailable(f"the ingestion worker has ended: {cause or 'it was stopped'}") from cause

    def stop(self) -> None:
        """End at once, from any thread. Claimed documents are queued again when their leases run out."""
        self._parser.close()
        super().stop()

    async def close(self) -> None:
        """End, and put the claimed documents back into the queue, so that another worker can claim them at once."""
        claimed = [*self._active.values()]
        self._parser.close()
        await super().close()
        for task in claimed:
            await self._outcomes.record(task, self._jobs.retry(task, after_s=0))

    async def _run(self) -> None:
        chores = (self._renew_leases(), self._remove_versions(), self._switch_generations())
        housekeeping = [asyncio.create_task(chore) for chore in chores]
        try:
            while True:
                self._changed.clear()
                for document in await self._claim():
                    work = asyncio.create_task(self._index_document(document))
                    self._active[work] = document
                    work.add_done_callback(self._done)
                await self._wait()
        finally:
            tasks = [*housekeeping, *self._active]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _claim(self) -> list[DocumentTask]:
        free = self._config.concurrent_documents - len(self._active)
        if free <= 0:
            return []
        try:
            claimed = await self._jobs.claim(self._name, lease_s=self._config.lease_s, limit=free)
        except Exception:
            if self.trouble is None:
                logger.exception("the job store handed out no work; asking again every %g s", self._config.poll_s)
            self.trouble = "the job store does not answer; the log of the ingestion stage has the details"
            return []
        self.trouble = None
        return claimed

    async def _wait(self) -> None:
        """Wait for a finished document, a wake-up or, while more documents can be claimed, the next poll."""
        is_full = len(self._active) >= self._config.concurrent_documents
        with suppress(TimeoutError):
            async with asyncio.timeout(None if is_full else self._config.poll_s):
                await self._changed.wait()

    def _done(self, work: asyncio.Task[None]) -> None:
        if self._active.pop(work).generation:
            self._refilled.set()
        self._changed.set()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._config.lease_s / 3)
            if self._active:
                try:
                    await self._jobs.renew(self._name, [*self._active.values()], lease_s=self._config.lease_s)
                except Exception:
                    logger.exception("the leases of %d documents were not renewed; trying again", len(self._active))

    async def _remove_versions(self) -> None:
        """Remove versions and generations that no search may find any longer, and bytes that no document needs."""
        while True:
            try:
                versions = await self._jobs.list_removable(REMOVAL_BATCH)
                for tenant_id in {version.tenant_id for version in versions}:
                    of_tenant = [version for version in versions if version.tenant_id == tenant_id]
                    await self._index.delete_versions(
                        tenant_id, [DocumentVersion(version.document_id, version.version) for version in of_tenant]
                    )
                    await self._jobs.forget_removed(of_tenant)
                blobs = await self._jobs.list_removable_blobs(REMOVAL_BATCH)
                for blob in blobs:
                    await self._blobs.delete(blob.key)
                await self._jobs.forget_blobs(blobs)
                for generation in await self._jobs.list_retired(REMOVAL_BATCH):
                    await self._index.purge(generation.tenant_id, generation=generation.name)
                    await self._jobs.forget_retired([generation])
            except Exception as error:
                versions, blobs = [], []
                logger.warning("what documents no longer need stays until it can be removed: %s", error)
            if max(len(versions), len(blobs)) < REMOVAL_BATCH:
                await asyncio.sleep(self._config.remove_every_s)

    async def _switch_generations(self) -> None:
        """Make generations live that are complete, after each document of one and every few seconds."""
        while True:
            self._refilled.clear()
            try:
                if await self._jobs.switch_generations():
                    self._changed.set()
            except Exception as error:
                logger.warning("it was not looked whether a reindexing is complete; trying again: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.remove_every_s):
                    await self._refilled.wait()

    async def _index_document(self, task: DocumentTask) -> None:
        with document_span(task):
            await self._outcomes.index_and_record(task, lambda: self._indexer.index(task))
