"""The Ray Job's driver: a pipeline over a bulk job's documents, and what came of each recorded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import ray.data
from ray.data import ActorPoolStrategy

from deployments.ingestion.base import IndexedDocument
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import COLUMN, Embed, Insert, Parse, Piece, from_row
from deployments.ingestion.concluding import Conclusions

logger = logging.getLogger(__name__)
T = TypeVar("T")

_ON_THE_HEAD_NODE = {"node:__internal_head__": 0.001}
_BLOCK_BYTES = 1024 * 1024
"""Small, so that pieces move on as soon as they are made, and few of them lie in the object store."""
_WAITING_CPUS = 0.1
"""Of an actor that waits for other stages most of its time."""


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
    def __init__(self, ports: BulkPorts, job: BulkJob) -> None:
        self._ports = ports
        self._job = job
        self._conclusions = Conclusions(ports.config, ports.index, ports.jobs)
        self._arrived: dict[tuple[str, int], _Arrived] = {}

    def run(self) -> None:
        """Index what of the job nobody has claimed, until that is done or this process is stopped.

        Raises Taken, and what Ray Data raises. However it ends, the workers go on with what is left.
        """
        with _event_loop() as call:
            detail = "its Ray Job was stopped"
            keeping: Future[None] | None = None
            try:
                tickets = call(self._begin()).result()
                keeping = call(self._keep())
                for piece in self._pieces(tickets):
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

    def _pieces(self, tickets: int) -> Iterator[Piece]:
        if tickets:
            for row in pipeline(self._ports, self._job, tickets).iter_rows():
                yield from_row(row[COLUMN])

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
            del self._arrived[key]
        elif len(arrived.pieces) == 1:
            await self._ports.jobs.progress(task, "embedding")

    async def _indexed(self, piece: Piece, arrived: _Arrived) -> IndexedDocument:
        task = piece.task
        if arrived.error is not None:
            logger.warning("%s: %s", task.document_id, arrived.error)
            raise arrived.error
        await self._ports.index.delete(task.tenant_id, task.document_id, keep_version=task.version)
        logger.info("%s: %d passages", task.document_id, piece.passages)
        return IndexedDocument(piece.title, piece.language, piece.passages, arrived.terms)


def pipeline(ports: BulkPorts, job: BulkJob, tickets: int) -> ray.data.Dataset:
    """One row a document to begin with. Ray Data's default places actors on as many nodes as there are."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_no_progress_timeout_s = ports.config.bulk.stall_s
    limits, processes = ports.config.bulk, ports.config.parse_processes
    documents = ray.data.from_items([{"ticket": number} for number in range(tickets)], override_num_blocks=tickets)
    documents.set_name(job.name)
    parsed = documents.map_batches(
        Parse,
        fn_constructor_args=(ports, job),
        batch_size=1,
        compute=_actors(1 if ports.pinned else limits.parsers, processes),
        num_cpus=processes,
        resources=_ON_THE_HEAD_NODE if ports.pinned else None,
    )
    beside: dict[str, Any] = {"fn_constructor_args": (ports,), "batch_size": 1, "num_cpus": _WAITING_CPUS}
    embedded = parsed.map_batches(Embed, compute=_actors(1, limits.calls), **beside)
    return embedded.map_batches(Insert, compute=_actors(1, limits.calls), **beside)


def _actors(most: int, calls: int) -> ActorPoolStrategy:
    return ActorPoolStrategy(
        min_size=1, max_size=most, max_concurrent_calls_per_actor=calls, max_tasks_in_flight_per_actor=calls
    )


class _Call(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> Future[T]: ...


@contextmanager
def _event_loop() -> Iterator[_Call]:
    """An event loop in a thread of its own: this thread blocks in Ray Data while leases must be renewed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ports", daemon=True)
    thread.start()

    def call(coroutine: Coroutine[Any, Any, T], /) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    try:
        yield call
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
