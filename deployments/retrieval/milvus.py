"""The index on a Milvus server.

There is one collection per generation, named by it, so vectors of different models never meet. Rows are described
in `milvus_rows.py`, the connection in `milvus_connection.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

from pymilvus import MilvusClient
from pymilvus.client.types import ConsistencyLevel
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from deployments.retrieval.coalescing import Coalescing
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.entries import copied
from deployments.retrieval.filter_expression import (
    document_expression,
    scope_expression,
    tenant_expression,
    versions_expression,
    window_expression,
)
from deployments.retrieval.fusion import dense_share, fuse
from deployments.retrieval.milvus_connection import MilvusConnection
from deployments.retrieval.milvus_rows import (
    ENTRY_FIELDS,
    PASSAGE_FIELDS,
    collection_schema,
    dense_candidates,
    lexical_candidates,
    to_entry,
    to_passage,
    to_row,
)
from deployments.retrieval.validation import check_entries, check_passage, check_request
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    VersionCopy,
)

Half = Literal["dense", "lexical"]

PARTITIONS = 64
"""Tenants share these partitions of a collection; milvus-lite always makes 16."""
VERSIONS_PER_DELETION = 50
_CONSISTENCY = {"strong": ConsistencyLevel.Strong, "bounded": ConsistencyLevel.Bounded}
"""Of searches. SQL names the versions that a search must not find. So a search that lags behind finds nothing old; at
most it misses what is new. Reading, copying and counting rows is always strong: ingestion goes by what they find."""
_ISOLATED = {"partitionkey.isolation": True}
_NOT_LOADED = 101
"""Milvus' error code for a search in a collection that is not loaded."""


class SearchCall(NamedTuple):
    """All of a search but its question: what two searches must have in common to share a call."""

    collection: str
    half: Half
    expression: str
    limit: int


class MilvusIndex:
    """See `base.Index`. Its errors are StageUnavailable, and those that the methods of `base.Index` name."""

    def __init__(self, config: RetrievalConfig, *, makes_database: bool = False) -> None:
        """`makes_database`: create `config.database` when it is missing, and let `drop` remove it."""
        self._config = config
        self._connection = MilvusConnection(config, makes_database=makes_database)
        self._loaded: set[str] = set()
        self._loading = threading.Lock()

    async def open(self) -> None:
        await self._connection.open()

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        check_request(request)
        expression = scope_expression(request.scope)
        collection = self._collection(request.generation)
        # Without a thread where it is loaded already: all threads may be busy with other calls.
        if collection not in self._loaded and not await self._connection.run(self._load, collection):
            return []
        dense, lexical = await asyncio.gather(
            *(
                self._search_half(SearchCall(collection, half, expression, request.limit), request)
                for half in get_args(Half)
            )
        )
        share = dense_share(
            request.dense.languages,
            request.language,
            dense_weight=self._config.dense_weight,
            dense_weight_other=self._config.dense_weight_other,
        )
        return fuse(dense, lexical, dense_weight=share)

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        check_entries(generation, entries)
        if entries:
            # One row per key, the last: Milvus does not say which of two it keeps.
            rows = {row["pk"]: row for row in map(to_row, entries)}
            collection = self._collection(generation.name)
            await self._connection.run(self._upsert, collection, generation.dimension, list(rows.values()))

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        expression = window_expression(tenant_id, document_id, version, after=after, limit=limit)
        return await self._connection.run(self._read, expression, generation)

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        expression = window_expression(tenant_id, copy.document_id, copy.version, after=after, limit=limit)
        return await self._connection.run(self._copy, expression, copy, generation)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await self._connection.run(self._delete, document_expression(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        removed = 0
        for start in range(0, len(versions), VERSIONS_PER_DELETION):
            batch = versions[start : start + VERSIONS_PER_DELETION]
            removed += await self._connection.run(self._delete, versions_expression(tenant_id, batch))
        return removed

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        return await self._connection.run(self._delete, tenant_expression(tenant_id, collection), generation)

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        expression = tenant_expression(tenant_id)
        return await self._connection.run(self._measure, self._collection(generation), expression)

    async def has_database(self) -> bool:
        """Whether the database is still there."""
        return await self._connection.run(self._connection.has_database)

    async def drop(self) -> None:
        """Drop every generation's collection, and the database if this index made it."""
        await self._connection.run(self._drop)

    async def check(self) -> None:
        await self._connection.run(self._collections)

    def close(self) -> None:
        self._connection.close()

    @cached_property
    def _searches(self) -> Coalescing[SearchCall, RetrievalRequest, list[Candidate]]:
        # Made at the first search: by then the connection is open and knows how many calls it takes at once.
        return Coalescing(
            self._search_together, max_questions=self._config.max_questions, max_calls=self._connection.threads
        )

    async def _search_half(self, call: SearchCall, request: RetrievalRequest) -> list[Candidate]:
        """One half's candidates. Searches that differ only in their vectors share a call; waiting for one counts as
        call time. Empty, without a call, where the question has nothing of that half."""
        question = request.dense.vectors if call.half == "dense" else request.lexical
        if not len(question):
            return []
        async with self._connection.timeout():
            return await self._searches.ask(call, request)

    async def _search_together(self, call: SearchCall, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        return await self._connection.run(self._search, call, requests)

    # All methods from here on block: they run on the connection's threads.

    @property
    def _milvus(self) -> MilvusClient:
        return self._connection.client

    def _collection(self, generation: str) -> str:
        """A collection's name. What follows the prefix has no underscore, so no prefix can be the start of another."""
        if not re.fullmatch(r"[A-Za-z0-9]{1,64}", generation):
            generation = hashlib.blake2b(generation.encode(), digest_size=16).hexdigest()
        return f"{self._config.collection_prefix}_{generation}"

    def _collections(self) -> list[str]:
        """The names of all generations' collections."""
        names: list[str] = self._milvus.list_collections(timeout=self._config.timeout_s)
        return [name for name in names if re.fullmatch(rf"{self._config.collection_prefix}_[A-Za-z0-9]+", name)]

    def _loaded_collections(self, generation: str = "") -> Iterator[str]:
        """The generation's collection, or all if it is empty; each is loaded before it is given out."""
        names = [self._collection(generation)] if generation else self._collections()
        return (collection for collection in names if self._load(collection))

    def _load(self, collection: str) -> bool:
        """Load a collection, so that it can be searched. Returns whether it exists."""
        if collection in self._loaded:
            return True
        with self._loading:
            if collection not in self._loaded:
                if not self._milvus.has_collection(collection, timeout=self._config.timeout_s):
                    return False
                self._create_indexes(collection)
                self._milvus.load_collection(
                    collection, replica_number=self._config.replicas, timeout=self._config.timeout_s
                )
                self._loaded.add(collection)
        return True

    def _create_indexes(self, collection: str) -> None:
        if self._has_indexes(collection):
            return
        indexes = _index_params(self._config, lite=self._connection.is_lite)
        try:
            # Not waited for: the client polls every half second, and loading waits anyway.
            self._milvus.create_index(collection, indexes, sync=False, timeout=self._config.timeout_s)
        except MilvusException:
            if not self._has_indexes(collection):  # else another replica was first
                raise

    def _has_indexes(self, collection: str) -> bool:
        return len(self._milvus.list_indexes(collection, timeout=self._config.timeout_s)) >= 2

    def _search(self, call: SearchCall, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        try:
            return self._search_loaded(call, requests)
        except MilvusException as error:
            if error.code != _NOT_LOADED:
                raise
            # A restarted server has forgotten that the collection was loaded.
            self._loaded.discard(call.collection)
            return self._search_loaded(call, requests) if self._load(call.collection) else [[] for _ in requests]

    def _search_loaded(self, call: SearchCall, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        """One half's best candidates for each request. Hits come with the other half's vector, which gives each
        candidate both scores."""
        is_dense = call.half == "dense"
        questions = [request.dense.vectors[0].tolist() if is_dense else dict(request.lexical) for request in requests]
        hits_per_request = self._milvus.search(
            call.collection,
            questions,
            anns_field=call.half,
            filter=call.expression,
            limit=call.limit,
            output_fields=[*PASSAGE_FIELDS, "lexical" if is_dense else "dense"],
            search_params={"metric_type": "IP", "params": dict(self._config.search_params) if is_dense else {}},
            consistency_level=_CONSISTENCY[self._config.consistency],
            timeout=self._config.timeout_s,
        )
        candidates = dense_candidates if is_dense else lexical_candidates
        return [candidates(request, hits) for request, hits in zip(requests, hits_per_request, strict=True)]

    def _read(self, expression: str, generation: str) -> list[Passage]:
        """Passages by position. A version that two generations have is in both under the same ids."""
        found: dict[str, Passage] = {}
        for collection in self._loaded_collections(generation):
            for row in self._query(collection, expression, PASSAGE_FIELDS):
                found[row["id"]] = to_passage(row)
        return sorted(found.values(), key=lambda passage: passage.position)

    def _copy(self, expression: str, copy: VersionCopy, generation: str) -> int:
        written = set()
        for collection in self._loaded_collections(generation):
            rows = self._query(collection, expression, ENTRY_FIELDS)
            entries = [copied(to_entry(row), copy) for row in rows]
            for entry in entries:
                check_passage(entry.passage)
            if entries:
                self._upsert(collection, len(entries[0].dense), [to_row(entry) for entry in entries])
            written |= {entry.passage.id for entry in entries}
        return len(written)

    def _count(self, collection: str, expression: str) -> int:
        return int(self._query(collection, expression, ["count(*)"])[0]["count(*)"])

    def _query(self, collection: str, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._milvus.query(
            collection,
            filter=expression,
            output_fields=list(fields),
            consistency_level=ConsistencyLevel.Strong,
            timeout=self._config.timeout_s,
        )
        return rows

    def _upsert(self, collection: str, dimension: int, rows: list[dict[str, Any]]) -> None:
        if not self._load(collection):
            self._create(collection, dimension)
        # On milvus-lite upsert keeps the old row's dynamic fields, and insert replaces the row. On a server insert
        # would leave two rows with one key.
        write = self._milvus.insert if self._connection.is_lite else self._milvus.upsert
        write(collection, rows, timeout=self._config.timeout_s)
        self._flush(collection)

    def _measure(self, collection: str, expression: str) -> GenerationSize:
        if not self._load(collection):
            return GenerationSize(0, 0)
        fields = self._milvus.describe_collection(collection, timeout=self._config.timeout_s)["fields"]
        dimension = next(int(field["params"]["dim"]) for field in fields if field["name"] == "dense")
        return GenerationSize(self._count(collection, expression), dimension)

    def _delete(self, expression: str, generation: str = "") -> int:
        removed = 0
        for collection in self._loaded_collections(generation):
            if count := self._count(collection, expression):
                self._milvus.delete(collection, filter=expression, timeout=self._config.timeout_s)
                self._flush(collection)
                removed += count
        return removed

    def _drop(self) -> None:
        for collection in self._collections():
            self._milvus.drop_collection(collection, timeout=self._config.timeout_s)
        self._connection.drop_database()
        self._loaded.clear()

    def _flush(self, collection: str) -> None:
        """Only on milvus-lite. It writes its log without fsync, and searches rows in memory 30 times slower than
        those in a file. A server's log is durable at once, and flushing it often is refused."""
        if self._connection.is_lite:
            self._milvus.flush(collection, timeout=self._config.timeout_s)

    def _create(self, collection: str, dimension: int) -> None:
        try:
            self._milvus.create_collection(
                collection,
                schema=collection_schema(dimension),
                num_partitions=PARTITIONS,
                consistency_level=ConsistencyLevel.Strong,
                timeout=self._config.timeout_s,
                **({"properties": _ISOLATED} if self._config.partition_isolation else {}),
            )
        except MilvusException:
            if not self._load(collection):  # else another replica was first
                raise
        self._load(collection)


def _index_params(config: RetrievalConfig, *, lite: bool) -> IndexParams:
    indexes = MilvusClient.prepare_index_params()
    kind, params = ("FLAT", {}) if lite else (config.index_type, dict(config.index_params))
    indexes.add_index("dense", index_type=kind, metric_type="IP", params=params)
    indexes.add_index("lexical", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return indexes
