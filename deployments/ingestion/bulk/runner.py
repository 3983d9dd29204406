"""Runs a bulk job: sends its documents through a pipeline, renews its leases, and records how each document ended."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any, Protocol, TypeVar

from deployments.errors import RagError
from deployments.ingestion.base import IndexedDocument, Progress
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import ChunkBatch
from deployments.ingestion.outcomes import OutcomeRecorder
from deployments.telemetry import tracing

logger = logging.getLogger(__name__)
T = TypeVar("T")

Pipeline = Callable[[BulkPorts, BulkJob, int], Iterable[ChunkBatch]]
"""(ports, job, number of waiting documents) → the documents' batches, as they come out of the last stage."""


def _public_text(error: Exception) -> str:
    """What the job's tenant may read of it."""
    if isinstance(error, BulkJobLost):
        return str(error)
    return error.message if isinstance(error, RagError) else type(error).__name__


class BulkJobLost(Exception):
    """The job does not belong to this run any longer: it has ended or was removed."""


@dataclass(slots=True)
class _DocumentResult:
    """What one document's batches have brought so far. They arrive in any order.

    `total`: how many batches the document has. `chunks_written`: batch number → its chunks in the index.
    """

    total: int
    numbers: set[int] = field(default_factory=set)
    chunks_written: dict[int, int] = field(default_factory=dict)
    document_frequency: Counter[int] = field(default_factory=Counter)
    error: Exception | None = None

    def add(self, batch: ChunkBatch) -> None:
        self.numbers.add(batch.number)
        self.total = min(self.total, batch.total)
        self.document_frequency.update(batch.document_frequency)
        self.error = self.error or batch.error
        if batch.error is None:
            self.chunks_written[batch.number] = batch.chunks

    @property
    def is_complete(self) -> bool:
        return len(self.numbers) == self.total

    @property
    def done(self) -> int:
        """How many of the document's first chunks are in the index without a gap: another attempt continues there."""
        without_gap = takewhile(self.chunks_written.__contains__, count())
        return sum(self.chunks_written[number] for number in without_gap)


class Runner:
    """Runs one bulk job in this process, with its stages wherever `pipeline` has them."""

    def __init__(self, ports: BulkPorts, job: BulkJob, pipeline: Pipeline) -> None:
        self._ports = ports
        self._job = job
        self._pipeline = pipeline
        self._outcomes = OutcomeRecorder(ports.config, ports.jobs)
        self._results: dict[tuple[str, int], _DocumentResult] = {}
        """(document id, attempt) → its result so far."""

    def run(self) -> None:
        """Index the job's unclaimed documents, until that is done or this process is stopped.

        Raises BulkJobLost, and what the pipeline raises. However it ends, the workers index the remaining documents.
        """
        tracing.start(self._ports.telemetry, "ingestion")
        with _event_loop() as call:
            detail = "it was stopped"
            renewing: Future[None] | None = None
            try:
                documents = call(self._begin()).result()
                renewing = call(self._renew_leases())
                for batch in self._pipeline(self._ports, self._job, documents) if documents else ():
                    if renewing.done():
                        raise BulkJobLost("the job ended or was removed meanwhile")
                    call(self._add(batch)).result()
                remaining = call(self._ports.bulk.waiting(self._job)).result()
                detail = f"{remaining} of its documents were left to the workers" if remaining else ""
            except Exception as error:
                logger.exception("%s failed", self._job.name)
                detail = f"it failed: {_public_text(error)}"
                raise
            finally:
                if renewing is not None:
                    renewing.cancel()
                call(self._end(detail)).result()

    async def _begin(self) -> int:
        """How many documents wait. Raises BulkJobLost."""
        if not await self._ports.bulk.renew(self._job, lease_s=self._ports.config.lease_s):
            raise BulkJobLost("the job does not wait for this run")
        waiting = await self._ports.bulk.waiting(self._job)
        logger.info("%s: %d documents", self._job.name, waiting)
        return waiting

    async def _renew_leases(self) -> None:
        """Renew until the job does not belong to this run any longer."""
        lease_s = self._ports.config.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            try:
                if not await self._ports.bulk.renew(self._job, lease_s=lease_s):
                    return
            except Exception:
                logger.exception("the leases were not renewed; trying again")

    async def _end(self, detail: str) -> None:
        try:
            await self._ports.bulk.end(self._job, detail)
        finally:  # what earlier calls changed has still to be told
            await self._ports.bulk.close()

    async def _add(self, batch: ChunkBatch) -> None:
        """Record the document's progress, or how it ended if this is its last batch."""
        task = batch.task
        result = self._results.setdefault((task.document_id, task.attempts), _DocumentResult(batch.total))
        if batch.number in result.numbers:  # an actor died, and its work was done again
            return
        result.add(batch)
        if not result.is_complete:
            await self._record_progress(batch, result)
        else:
            with tracing.CurrentSpan(tracing.remote(batch.trace), kept=True):
                await self._outcomes.index_and_record(task, lambda: _indexed(batch, result))
            result.document_frequency.clear()

    async def _record_progress(self, batch: ChunkBatch, result: _DocumentResult) -> None:
        if result.error is None:
            progress = Progress(batch.generation.name, batch.passages, result.done)
            try:
                await self._ports.jobs.progress(batch.task, "embedding", progress)
            except Exception as error:  # cancelled, or another worker's by now: recorded with the last batch
                result.error = error


async def _indexed(batch: ChunkBatch, result: _DocumentResult) -> IndexedDocument:
    """The finished document. Raises the first error of any of its batches."""
    if result.error is not None:
        logger.warning("%s: %s", batch.task.document_id, result.error)
        raise result.error
    logger.info("%s: %d passages", batch.task.document_id, batch.passages)
    return IndexedDocument(
        title=batch.title,
        language=batch.language,
        passages=batch.passages,
        document_frequency=dict(result.document_frequency),
        embedder=batch.fingerprint if batch.has_vectors else "",
        chunking=batch.chunking,
        generation=batch.generation.name,
        warnings=batch.warnings,
        metadata=batch.task.metadata,
    )


class _Call(Protocol):
    """Starts a coroutine in the event loop's thread."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> Future[T]: ...


@contextmanager
def _event_loop() -> Iterator[_Call]:
    """An event loop in a thread of its own. The pipeline blocks this thread, and leases must be renewed meanwhile."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run_until_stopped() -> None:
        stopped = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stopped))
        await stopped.wait()

    thread = threading.Thread(target=asyncio.run, args=[run_until_stopped()], name="ports")
    thread.start()
    loop, stopped = started.result()

    def call(coroutine: Coroutine[Any, Any, T], /) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    try:
        yield call
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
