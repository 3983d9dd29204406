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
from typing import Any, Protocol, TypeVar

from deployments.ingestion.base import IndexedDocument
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import Piece
from deployments.ingestion.concluding import Conclusions

logger = logging.getLogger(__name__)
T = TypeVar("T")

Pipeline = Callable[[BulkPorts, BulkJob, int], Iterable[Piece]]
"""Ports, job and the number of documents that wait → the documents' pieces once they are through."""


class Taken(Exception):
    """The job is no longer this run's: it ended before, or the job is gone."""


@dataclass(slots=True)
class _Arrived:
    """What has come of one document so far. `of`: how many pieces there will be."""

    of: int
    pieces: set[int] = field(default_factory=set)
    terms: Counter[int] = field(default_factory=Counter)
    error: Exception | None = None


class Runner:
    def __init__(self, ports: BulkPorts, job: BulkJob, pipeline: Pipeline) -> None:
        self._ports = ports
        self._job = job
        self._pipeline = pipeline
        self._conclusions = Conclusions(ports.config, ports.index, ports.jobs)
        self._arrived: dict[tuple[str, int], _Arrived] = {}

    def run(self) -> None:
        """Index what of the job nobody has claimed, until that is done or this process is stopped.

        Raises Taken, and what the pipeline raises. However it ends, the workers go on with what is left.
        """
        with _event_loop() as call:
            detail = "its Ray Job was stopped"
            keeping: Future[None] | None = None
            try:
                tickets = call(self._begin()).result()
                keeping = call(self._keep())
                for piece in self._pipeline(self._ports, self._job, tickets) if tickets else ():
                    if keeping.done():
                        raise Taken("the job ended or was removed meanwhile")
                    call(self._arrive(piece)).result()
                detail = ""
            except Exception as error:
                detail = f"its Ray Job failed: {error}"
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
        key = task.document_id, task.attempts
        arrived = self._arrived.setdefault(key, _Arrived(piece.of))
        if piece.number in arrived.pieces:  # an actor died, and what it had done was done again
            return
        arrived.pieces.add(piece.number)
        arrived.of = min(arrived.of, piece.of)
        arrived.terms.update(piece.terms)
        arrived.error = arrived.error or piece.error
        if len(arrived.pieces) == arrived.of:
            await self._conclusions.conclude(task, lambda: self._indexed(piece, arrived))
            arrived.terms.clear()
        elif len(arrived.pieces) == 1:
            await self._ports.jobs.progress(task, "embedding")

    async def _indexed(self, piece: Piece, arrived: _Arrived) -> IndexedDocument:
        task = piece.task
        if arrived.error is not None:
            logger.warning("%s: %s", task.document_id, arrived.error)
            raise arrived.error
        await self._ports.index.delete(task.tenant_id, task.document_id, keep_version=task.version)
        logger.info("%s: %d passages", task.document_id, piece.passages)
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
