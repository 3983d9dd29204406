"""The index in a folder of this process: SQLite keeps the passages, and arrays in memory are searched.

Nothing approximates: a search computes the scores of all of a tenant's passages. Tenants that were searched last stay
in memory, up to `retrieval.memory_mb`; others are loaded when they are searched.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, ParamSpec, TypeVar

from deployments.errors import InvalidRequest, StageUnavailable
from deployments.late_interaction import ForeignShift, max_sim, refine
from deployments.retrieval.coalescing import Coalescing
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.embedded.folder import IndexFolder
from deployments.retrieval.embedded.segment import NO_NUMBERS, Hit, Hits, Segment, View, metadata_names
from deployments.retrieval.embedded.store import Embedder, PassageStore, Removed, rows_of
from deployments.retrieval.entries import copied
from deployments.retrieval.fusion import dense_share, fuse
from deployments.retrieval.validation import check_entries, check_passage, check_request
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    Scores,
    VersionCopy,
)

P = ParamSpec("P")
R = TypeVar("R")

SEARCHES = 2
"""Calls that compute at once. Questions that wait meanwhile share the next one, which is faster than more at once."""
BLOCKS_FOR_THREADS = 3
"""From so many blocks of vectors a search computes them on all cores."""
LOCK_POLL_S = 0.2


class SegmentKey(NamedTuple):
    """What questions must have in common to share a call: the tenant, and the generation's name."""

    tenant_id: str
    generation: str


class EmbeddedIndex:
    """See `base.Index`. Its errors are StageUnavailable, and those that the methods of `base.Index` name."""

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._folder = IndexFolder(config.uri)
        self._store = PassageStore(self._folder.file)
        self._embedders: dict[str, Embedder] = {}
        """By the names of their generations. Changed under `_writing`."""
        self._segments: dict[SegmentKey, Segment] = {}
        """Those in memory. Changed under `_writing`, and so are they."""
        self._writing = threading.RLock()
        self._searchers = ThreadPoolExecutor(SEARCHES, thread_name_prefix="index-search")
        self._blocks = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="index-block")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="index-write")
        self._searches = Coalescing(self._search_together, max_questions=config.max_questions, max_calls=SEARCHES)
        self._room = config.memory_mb * 2**20
        self._opening = asyncio.Lock()
        self._is_open = self._is_closed = False

    async def open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._lock_folder()
                await self._run(self._writer, self._open)
                self._is_open = True

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        check_request(request)
        self._require_open()
        async with self._timeout():
            key = SegmentKey(request.scope.tenant_id, request.generation)
            return await self._searches.ask(key, request)

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        check_entries(generation, entries)
        if entries:
            await self._write(self._upsert, generation, entries)

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        return await self._read(self._store.window, tenant_id, document_id, version, after, limit, generation)

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        return await self._write(self._copy, tenant_id, copy, after, limit, generation)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await self._write(self._remove, lambda: self._store.remove_document(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await self._write(self._remove, lambda: self._store.remove_versions(tenant_id, versions))

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        return await self._write(self._remove, lambda: self._store.remove_tenant(tenant_id, collection, generation))

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await self._read(self._measure, tenant_id, generation)

    async def check(self) -> None:
        await self._read(self._store.check)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            for pool in (self._searchers, self._blocks, self._writer):
                pool.shutdown(cancel_futures=True)
            self._store.close()
            self._folder.release()

    async def _lock_folder(self) -> None:
        deadline = time.monotonic() + self._config.lock_timeout_s
        while not await self._run(self._writer, self._folder.try_lock):
            if time.monotonic() > deadline:
                raise StageUnavailable(
                    "the index folder is still locked by another process after "
                    f"{self._config.lock_timeout_s:g} s (retrieval.lock_timeout_s): stop that process",
                    internal=str(self._folder.path),
                )
            await asyncio.sleep(LOCK_POLL_S)

    async def _read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._require_open()
        return await self._run(self._searchers, function, *args, **kwargs)

    async def _write(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self._require_open()
        return await self._run(self._writer, function, *args, **kwargs)

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call on a thread. Raises StageUnavailable when the store fails or takes too long."""
        self._require_not_closed()
        call = asyncio.get_running_loop().run_in_executor(pool, lambda: function(*args, **kwargs))
        try:
            async with self._timeout():
                return await call
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._require_not_closed()
            raise StageUnavailable(
                "the index failed; try again", internal=f"{self._folder.path}: {str(error)[:300]}"
            ) from error

    @asynccontextmanager
    async def _timeout(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                yield
        except TimeoutError:
            raise StageUnavailable(
                f"the index did not answer in {self._config.timeout_s:g} s (retrieval.timeout_s)",
                internal=str(self._folder.path),
            ) from None

    def _require_open(self) -> None:
        self._require_not_closed()
        if not self._is_open:
            raise StageUnavailable("the index is not open yet: retry in a moment")

    def _require_not_closed(self) -> None:
        if self._is_closed:
            raise StageUnavailable("the index is closed: this replica is stopping, ask another")

    async def _search_together(self, key: SegmentKey, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        return await self._run(self._searchers, self._search, key, requests)

    # All methods from here on block: they run on the threads.

    def _open(self) -> None:
        self._store.open()
        self._embedders = {embedder.fingerprint: embedder for embedder in self._store.embedders()}

    def _search(self, key: SegmentKey, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        names: frozenset[str] = frozenset().union(*(metadata_names(request.scope.filter) for request in requests))
        found = self._searched(key, names, requests)
        if found is None:
            # A passage that was found has been replaced or removed meanwhile. Once more, while nothing changes.
            with self._writing:
                found = self._searched(key, names, requests)
        return found or [[] for _ in requests]

    def _searched(
        self, key: SegmentKey, names: Set[str], requests: Sequence[RetrievalRequest]
    ) -> list[list[Candidate]] | None:
        """The candidates of each request; None if a passage that was found is no longer there."""
        view = self._view(key, names)
        if view is None:
            return [[] for _ in requests]
        together = self._blocks.map if len(view.dense) >= BLOCKS_FOR_THREADS else map
        found = view.search(requests, together=together)
        numbers = {hit.number for hits in found for half in hits for hit in half}
        passages = self._store.passages(sorted(numbers))
        if len(passages) < len(numbers):
            return None
        number_of = {passage.id: number for number, passage in passages.items()}
        return [
            self._refined(request, self._fused(request, hits, passages), number_of)
            for request, hits in zip(requests, found, strict=True)
        ]

    def _fused(self, request: RetrievalRequest, hits: Hits, passages: Mapping[int, Passage]) -> list[Candidate]:
        def candidates(half: Sequence[Hit]) -> list[Candidate]:
            return [Candidate(passages[hit.number], Scores(dense=hit.dense, lexical=hit.lexical)) for hit in half]

        share = dense_share(
            request.dense.languages,
            request.language,
            dense_weight=self._config.dense_weight,
            dense_weight_other=self._config.dense_weight_other,
        )
        return fuse(candidates(hits.dense), candidates(hits.lexical), dense_weight=share)

    def _refined(
        self, request: RetrievalRequest, candidates: list[Candidate], number_of: Mapping[str, int]
    ) -> list[Candidate]:
        """The candidates by late interaction too, if the question and each of the best have token vectors.

        `number_of`: passage id → number.
        """
        question = request.dense.question_tokens
        if not self._config.late_weight or question is None or not len(request.dense.vectors):
            return candidates
        numbers = [number_of[candidate.passage.id] for candidate in candidates[: self._config.late_candidates]]
        packed = self._store.tokens(numbers)
        if len(packed) < len(numbers):
            return candidates
        shift = request.dense.shift
        languages = [candidate.passage.language for candidate in candidates[: len(numbers)]]
        foreign = None if shift is None else ForeignShift(shift, [each == shift.language for each in languages])
        scores = max_sim(question, [packed[number] for number in numbers], foreign)
        return refine(candidates, scores, self._config.late_weight)

    def _view(self, key: SegmentKey, names: Set[str]) -> View | None:
        """A segment as it is now, with columns for these names of metadata. None for one without passages."""
        segment = self._segments.get(key)
        if segment is None or names - segment.view.metadata.keys():
            with self._writing:
                segment = self._segments.get(key) or self._load(key)
                if segment is not None and names - segment.view.metadata.keys():
                    embedder = self._embedders[key.generation]
                    segment.add_metadata(names, self._store.metadata(embedder, key.tenant_id))
        if segment is None:
            return None
        segment.used = time.monotonic()
        return segment.view

    def _load(self, key: SegmentKey) -> Segment | None:
        """Read a segment into memory, in place of those not searched for longest if there is no room."""
        embedder = self._embedders.get(key.generation)
        if embedder is None:
            return None
        segment = Segment(embedder.dimension)
        for rows in self._store.rows(embedder, key.tenant_id):
            self._require_not_closed()
            segment.append(rows)
        if not len(segment.view.numbers):
            return None
        while self._segments and segment.size + sum(each.size for each in self._segments.values()) > self._room:
            del self._segments[min(self._segments, key=lambda each: self._segments[each].used)]
        self._segments[key] = segment
        return segment

    def _measure(self, tenant_id: str, generation: str) -> GenerationSize:
        known = self._embedders.get(generation)
        if known is None:
            return GenerationSize(0, 0)
        return GenerationSize(self._store.count(known, tenant_id), known.dimension)

    def _upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        with self._writing:
            known = self._embedders.get(generation.name)
            if known is not None and known.dimension != generation.dimension:
                raise InvalidRequest(
                    f"dense: the index has vectors of {known.dimension} numbers from {generation.name}, not of "
                    f"{generation.dimension}; give the other model another fingerprint"
                )
            self._replace({(generation.name, generation.dimension): entries})

    def _copy(self, tenant_id: str, copy: VersionCopy, after: int, limit: int, generation: str) -> int:
        with self._writing:
            found = self._store.entries(tenant_id, copy.document_id, copy.version, after, limit, generation)
            copies = {
                (embedder.fingerprint, embedder.dimension): [copied(entry, copy) for entry in entries]
                for embedder, entries in found.items()
            }
            for entries in copies.values():
                for entry in entries:
                    check_passage(entry.passage)
            self._replace(copies)
        return len({entry.passage.id for entries in copies.values() for entry in entries})

    def _replace(self, by_embedder: Mapping[tuple[str, int], Sequence[IndexEntry]]) -> None:
        """Write entries, by fingerprint and dimension, in place of those with the same ids."""
        changes = []
        with self._store.transaction():
            for (fingerprint, dimension), entries in by_embedder.items():
                embedder = self._store.embedder(fingerprint, dimension)
                for tenant_id, by_id in _latest_by_tenant(entries).items():
                    latest = list(by_id.values())
                    removed = self._store.remove_ids(embedder, tenant_id, list(by_id))
                    changes.append((embedder, tenant_id, removed, latest, self._store.insert(embedder, latest)))
        for embedder, tenant_id, removed, written, numbers in changes:
            self._embedders[embedder.fingerprint] = embedder
            key = SegmentKey(tenant_id, embedder.fingerprint)
            if key in self._segments:
                old = removed.numbers.get((embedder.number, tenant_id), NO_NUMBERS)
                metadata = [entry.passage.metadata for entry in written]
                with self._changing(key) as segment:
                    segment.replace(old, rows_of(written, numbers), metadata)

    def _remove(self, remove: Callable[[], Removed]) -> int:
        with self._writing:
            with self._store.transaction():
                removed = remove()
            fingerprints = {embedder.number: embedder.fingerprint for embedder in self._embedders.values()}
            for (embedder, tenant_id), numbers in removed.numbers.items():
                key = SegmentKey(tenant_id, fingerprints[embedder])
                if key in self._segments:
                    with self._changing(key) as segment:
                        segment.remove(numbers)
        return len(removed)

    @contextmanager
    def _changing(self, key: SegmentKey) -> Iterator[Segment]:
        """A segment in memory, to be changed as the file was. If that fails it is given up, and loaded when it is
        searched next."""
        try:
            yield self._segments[key]
        except BaseException:
            del self._segments[key]
            raise


def _latest_by_tenant(entries: Sequence[IndexEntry]) -> dict[str, dict[str, IndexEntry]]:
    """Tenant → passage id → the last entry with it."""
    found: defaultdict[str, dict[str, IndexEntry]] = defaultdict(dict)
    for entry in entries:
        found[entry.passage.tenant_id][entry.passage.id] = entry
    return found
