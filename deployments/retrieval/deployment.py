"""The retrieval stage as a deployment: one index, opened in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from deployments.errors import InvalidRequest, StageUnavailable
from deployments.replica import replica_id
from deployments.retrieval.base import Index, create
from deployments.retrieval.config import RetrievalConfig
from deployments.single_replica import require_single_replica
from deployments.stage_times import StageTimes
from deployments.startup import gc_paused
from deployments.tasks import spawn_detached
from deployments.telemetry import spans, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import traced
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    StageStatus,
    VersionCopy,
)

logger = logging.getLogger(__name__)


class Retrieval:
    """The first health check or call opens the index, and calls wait until it is open.

    The constructor does not wait: an index folder may still be locked by the replica that this one replaces,
    which lives on until its requests are done. Errors are those of `base.Index`.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        owned: str = "",
        recorder: Recorder = NO_RECORDER,
        telemetry: TelemetryConfig | None = None,
    ) -> None:
        """`owned`: the fields of embedded stores; see `require_single_replica`."""
        require_single_replica(owned)
        tracing.start(telemetry, "retrieval", replica=replica_id())
        self._times = StageTimes("retrieval", recorder)
        self._config = config
        with gc_paused():
            self._index = create(config)
        self._opening: asyncio.Task[None] | None = None
        self._failure: StageUnavailable | None = None

    @traced(spans.SEARCH)
    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        with self._times.call("search"):
            return await (await self._opened()).search(request)

    @traced(spans.INDEX)
    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        if len(entries) > self._config.max_entries:
            raise InvalidRequest(
                f"entries: {len(entries)} passages in one call, at most {self._config.max_entries} "
                "(retrieval.max_entries); send them in several"
            )
        with self._times.call("upsert"):
            await (await self._opened()).upsert(generation, entries)

    @traced(spans.READ)
    async def read(
        self, tenant_id: str, document_id: str, version: str, generation: str, after: int, limit: int
    ) -> list[Passage]:
        self._check_limit(limit)
        with self._times.call("read"):
            index = await self._opened()
            return await index.read(tenant_id, document_id, version, generation=generation, after=after, limit=limit)

    async def copy(self, tenant_id: str, copy: VersionCopy, generation: str, after: int, limit: int) -> int:
        self._check_limit(limit)
        return await (await self._opened()).copy(tenant_id, copy, generation=generation, after=after, limit=limit)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await (await self._opened()).delete(tenant_id, document_id)

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await (await self._opened()).delete_versions(tenant_id, versions)

    async def purge(self, tenant_id: str, collection: str = "", generation: str = "") -> int:
        return await (await self._opened()).purge(tenant_id, collection=collection, generation=generation)

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await (await self._opened()).measure(tenant_id, generation)

    async def status(self) -> StageStatus:
        """What serves this stage. Asks the store, but never raises and never waits for a lock."""
        engine = "fake" if self._config.backend == "fake" else "embedded" if self._config.embedded else "milvus"
        opening = self._open_in_background()
        if not _succeeded(opening):
            detail = self._failure.message if self._failure else "opening the index"
            return StageStatus(ready=False, engine=engine, detail=detail)
        try:
            await self._index.check()
        except StageUnavailable as error:
            return StageStatus(ready=False, engine=engine, detail=error.message)
        return StageStatus(ready=True, engine=engine)

    async def check_health(self) -> None:
        """Raises StageUnavailable if the replica should be replaced.

        Waiting for a folder's lock is healthy until `lock_timeout_s` has passed. A Milvus server that does not answer
        is no reason to replace its clients; `status` reports it.
        """
        opening = self._open_in_background()
        if not self._config.embedded:
            return
        if _succeeded(opening):
            await self._index.check()
        elif self._failure is not None:
            raise self._failure

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Serve calls this after the replica's last request, before it ends the process."""
        if hasattr(self, "_index"):
            self._index.close()
        return tracing.end_of_replica()

    def _check_limit(self, limit: int) -> None:
        if limit > self._config.max_entries:
            raise InvalidRequest(
                f"limit: {limit} passages in one call, at most {self._config.max_entries} (retrieval.max_entries); "
                "ask for fewer"
            )

    async def _opened(self) -> Index:
        # Shielded: a caller that is cancelled must not end the opening for the others.
        await asyncio.shield(self._open_in_background())
        return self._index

    def _open_in_background(self) -> asyncio.Task[None]:
        """The attempt to open that has succeeded or is under way. After a failed one the next is started."""
        if self._opening is None or (self._opening.done() and not _succeeded(self._opening)):
            self._opening = spawn_detached(self._open())
            self._opening.add_done_callback(_retrieve_exception)
        return self._opening

    async def _open(self) -> None:
        try:
            with gc_paused():
                await self._index.open()
        except StageUnavailable as error:
            if self._failure is None or str(self._failure) != str(error):  # else it is in the log already
                logger.warning("the index cannot be opened: %s", error)
            self._failure = error
            raise
        self._failure = None


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging an exception as never retrieved; `_failure` has it."""
    if not task.cancelled():
        task.exception()
