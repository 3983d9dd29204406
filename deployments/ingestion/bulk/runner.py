"""A bulk job's documents sent through a pipeline, leases renewed meanwhile, and what came of each recorded."""

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

from deployments.ingestion.base import IndexedDocument, Progress
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import Piece
from deployments.ingestion.outcomes import Conclusions

logger = logging.getLogger(__name__)
T = TypeVar("T")

Pipeline = Callable[[BulkPorts, BulkJob, int], Iterable[Piece]]
"""Ports, job and the number of documents that wait → the documents' pieces once they are through."""


class Taken(Exception):
    """The job is no longer this run's: it ended before, or the job is gone."""


@dataclass(slots=True)
class _Arrived:
    """What has come of one document so far, in any order. `of`: how many pieces there will be; `written`: how many
    chunks each of those brought that are in the index."""

    of: int
    numbers: set[int] = field(default_factory=set)
    written: dict[int, int] = field(default_factory=dict)
    terms: Counter[int] = field(default_factory=Counter)
    error: Exception | None = None

    def add(self, piece: Piece) -> None:
        self.numbers.add(piece.number)
        self.of = min(self.of, piece.of)
        self.terms.update(piece.terms)
        self.error = self.error or piece.error
        if piece.error is None:
            self.written[piece.number] = piece.chunks

    @property
    def complete(self) -> bool:
        return len(self.numbers) == self.of

    @property
    def done(self) -> int:
        """Chunks in the index with none missing before them: where another try may go on."""
        in_order = takewhile(self.written.__contains__, count())
        return sum(self.written[number] for number in in_order)


class Runner:
    def __init__(self, ports: BulkPorts, job: BulkJob, pipeline: Pipeline) -> None:
        self._ports = ports
        self._job = job
        self._pipeline = pipeline
        self._conclusions = Conclusions(ports.config, ports.jobs)
        self._arrived: dict[tuple[str, int], _Arrived] = {}

    def run(self) -> None:
        """Index what of the job nobody has claimed, until that is done or this process is stopped.

        Raises Taken, and what the pipeline raises. However it ends, the workers go on with what is left.
        """
        with _event_loop() as call:
            detail = "it was stopped"
            keeping: Future[None] | None = None
            try:
                tickets = call(self._begin()).result()
                keeping = call(self._keep())
                for piece in self._pipeline(self._ports, self._job, tickets) if tickets else ():
                    if keeping.done():
                        raise Taken("the job ended or was removed meanwhile")
                    call(self._arrive(piece)).result()
                left = call(self._ports.bulk.waiting(self._job)).result()
                detail = f"{left} of its documents were left to the workers" if left else ""
            except Exception as error:
                detail = f"it failed: {error}"
                raise
            finally:
                if keeping is not None:
                    keeping.cancel()
                call(self._end(detail)).result()

    async def _begin(self) -> int:
        """How many documents wait. Raises Taken."""
        if not await self._ports.bulk.renew(self._job, lease_s=self._ports.config.lease_s):
            raise Taken("the job does not wait for this run")
        waiting = await self._ports.bulk.waiting(self._job)
        logger.info("%s: %d documents", self._job.name, waiting)
        return waiting

    async def _keep(self) -> None:
        """Renew until the job is no longer this run's."""
        lease_s = self._ports.config.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            try:
                if not await self._ports.bulk.renew(self._job, lease_s=lease_s):
                    return
            except Exception:
                logger.exception("the leases were not renewed; trying again")

    async def _end(self, detail: str) -> None:
        await self._ports.bulk.end(self._job, detail)
        await self._ports.bulk.close()

    async def _arrive(self, piece: Piece) -> None:
        task = piece.task
        arrived = self._arrived.setdefault((task.document_id, task.attempts), _Arrived(piece.of))
        if piece.number in arrived.numbers:  # an actor died, and what it had done was done again
            return
        arrived.add(piece)
        if not arrived.complete:
            await self._record_progress(piece, arrived)
        else:
            await self._conclusions.conclude(task, lambda: _indexed(piece, arrived))
            arrived.terms.clear()

    async def _record_progress(self, piece: Piece, arrived: _Arrived) -> None:
        if arrived.error is None:
            progress = Progress(piece.fingerprint, piece.passages, arrived.done)
            try:
                await self._ports.jobs.progress(piece.task, "embedding", progress)
            except Exception as error:  # given up, or another's by now: known once all pieces are through
                arrived.error = error


async def _indexed(piece: Piece, arrived: _Arrived) -> IndexedDocument:
    """Raises what went wrong with any piece."""
    if arrived.error is not None:
        logger.warning("%s: %s", piece.task.document_id, arrived.error)
        raise arrived.error
    logger.info("%s: %d passages", piece.task.document_id, piece.passages)
    return IndexedDocument(piece.title, piece.language, piece.passages, dict(arrived.terms))


class _Call(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> Future[T]: ...


@contextmanager
def _event_loop() -> Iterator[_Call]:
    """An event loop in a thread of its own: this thread blocks in the pipeline while leases must be renewed."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def stay() -> None:
        left = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), left))
        await left.wait()

    thread = threading.Thread(target=asyncio.run, args=[stay()], name="ports")
    thread.start()
    loop, left = started.result()

    def call(coroutine: Coroutine[Any, Any, T], /) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    try:
        yield call
    finally:
        loop.call_soon_threadsafe(left.set)
        thread.join()
