"""The index on Milvus: a milvus-lite folder that this process owns, or a server.

One collection per embedder, named by its fingerprint, so that vectors of different models never meet. The primary
key is made of tenant and passage id, because two tenants may well index the same document under the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args

import grpc  # type: ignore[import-untyped]
import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.client.types import ConsistencyLevel
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from deployments.errors import StageUnavailable
from deployments.lexical import NO_TERMS
from deployments.retrieval.coalescing import Gathering
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.copies import copied
from deployments.retrieval.filter_expression import (
    document_expression,
    facets,
    scope_expression,
    tenant_expression,
    versions_expression,
    window_expression,
)
from deployments.retrieval.fusion import dense_share, fuse
from deployments.retrieval.lite import LiteFolder
from deployments.retrieval.validation import MAX_BYTES, check_entries, check_passage, check_request, embedder_mismatch
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderInfo,
    IndexEntry,
    Passage,
    RetrievalRequest,
    Scope,
    Scores,
    VersionCopy,
)

# It logs a traceback for every failed call, which is mapped to an error of ours anyway.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

P = ParamSpec("P")
R = TypeVar("R")
Half = Literal["dense", "lexical"]

LOCK_POLL_S = 0.2
CLOSE_TIMEOUT_S = 5.0
PARTITIONS = 64
"""Tenants share these partitions of a server's collection; milvus-lite always makes 16."""
GRPC_OPTIONS = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 2_000}
"""pymilvus meets an outage with a new channel; by default that shares the old one's back-off of up to two minutes, in
which a server that is back goes unnoticed."""
VERSIONS_AT_ONCE = 50
"""Named in one deletion."""
_DEFAULT_DATABASE = "default"
_NOT_LOADED = 101
_STORED = ("id", "document_id", "version", "tenant_id", "owner", "collection", "language", "title", "text")


class Call(NamedTuple):
    """All of a search but its question: what two searches must have in common to share a call."""

    name: str
    half: Half
    expression: str
    limit: int


class MilvusIndex:
    """On milvus-lite, a folder or a server of it, one worker thread makes all calls: it gains nothing from more; a
    search beside a flush can miss rows that are on their way from memory to a file; and of two flushes at once the
    later can reach its manifest first, which then refuses the other's rows."""

    def __init__(self, config: RetrievalConfig, *, makes_database: bool = False) -> None:
        self._config = config
        self._makes_database = makes_database
        self._folder = LiteFolder(config.uri) if config.embedded else None
        self._set_threads(1 if config.embedded else config.threads)
        self._client: MilvusClient | None = None
        self._lite = False
        self._opening = asyncio.Lock()
        self._loaded: set[str] = set()
        self._loading = threading.Lock()
        self._closed = False

    async def open(self) -> None:
        async with self._opening:
            if self._client is None:
                uri = await self._own_folder(self._folder) if self._folder else self._config.uri
                await self._run(self._connect, uri)
                if self._lite and not self._config.embedded:
                    self._pool.shutdown(wait=False)
                    self._set_threads(1)

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        check_request(request)
        expression = scope_expression(request.scope)
        name = self._collection(request.dense.fingerprint)
        # Not through the pool where it is loaded already: that would wait for the call under way.
        if name not in self._loaded and not await self._run(self._load, name):
            await self._run(self._refuse_other_embedder, name, request.scope)
            return []
        dense, lexical = await asyncio.gather(
            *(self._ask(Call(name, half, expression, request.limit), request) for half in get_args(Half))
        )
        if not (dense or lexical):
            await self._run(self._refuse_other_embedder, name, request.scope)
        share = dense_share(
            request.dense.languages,
            request.language,
            dense_weight=self._config.dense_weight,
            dense_weight_other=self._config.dense_weight_other,
        )
        return fuse(dense, lexical, dense_weight=share)

    async def upsert(self, embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None:
        check_entries(embedder, entries)
        if entries:
            # Milvus does not say which of two rows with one key it keeps.
            rows = {row["pk"]: row for row in map(_row, entries)}
            name = self._collection(embedder.fingerprint)
            await self._run(self._upsert, name, embedder.dimension, list(rows.values()))

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]:
        expression = window_expression(tenant_id, document_id, version, after=after, limit=limit)
        return await self._run(self._window, expression)

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int:
        expression = window_expression(tenant_id, copy.document_id, copy.version, after=after, limit=limit)
        return await self._run(self._copy, expression, copy)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await self._run(self._delete, document_expression(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        removed = 0
        for start in range(0, len(versions), VERSIONS_AT_ONCE):
            some = versions[start : start + VERSIONS_AT_ONCE]
            removed += await self._run(self._delete, versions_expression(tenant_id, some))
        return removed

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        return await self._run(self._delete, tenant_expression(tenant_id, collection))

    async def drop(self) -> None:
        """Remove the database that this index made, with all that is in it."""
        await self._run(self._drop)

    async def check(self) -> None:
        await self._run(self._collections)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._pool.submit(self._release).result(CLOSE_TIMEOUT_S)
            except RuntimeError:
                # The interpreter is ending and takes no more work; the folder has its own exit handler.
                pass
            finally:
                self._pool.shutdown(wait=False, cancel_futures=True)

    # What follows runs in the pool, except where it is async.

    async def _own_folder(self, folder: LiteFolder) -> str:
        deadline = time.monotonic() + self._config.lock_timeout_s
        while (uri := await self._run(folder.try_start)) is None:
            if time.monotonic() > deadline:
                raise StageUnavailable(
                    f"the index folder {folder.path} is still locked by another process after "
                    f"{self._config.lock_timeout_s:g} s (retrieval.lock_timeout_s): stop that process"
                )
            await asyncio.sleep(LOCK_POLL_S)
        return uri

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call in the pool; whatever goes wrong with Milvus becomes StageUnavailable."""
        if self._closed:
            raise StageUnavailable("the index is closed: this replica is stopping, ask another")
        call = asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))
        try:
            async with self._in_time():
                return await call
        except (MilvusException, grpc.RpcError, OSError) as error:
            detail = str(getattr(error, "message", "") or error)[:300]
            raise StageUnavailable(f"Milvus at {self._config.uri} failed: {detail}") from error

    async def _ask(self, call: Call, request: RetrievalRequest) -> list[Candidate]:
        """One half, in a call shared with whoever asks the same of other vectors; the wait counts as its time. Without
        a call where the question has nothing of that half."""
        if not len(request.dense.vectors if call.half == "dense" else request.lexical):
            return []
        async with self._in_time():
            return await self._searches.ask(call, request)

    async def _answer(self, call: Call, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        return await self._run(self._search, call, requests)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                yield
        except TimeoutError:
            raise StageUnavailable(
                f"Milvus at {self._config.uri} did not answer in {self._config.timeout_s:g} s (retrieval.timeout_s)"
            ) from None

    def _set_threads(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="milvus")
        self._searches = Gathering(self._answer, most=self._config.max_questions, calls=number)

    def _connect(self, uri: str) -> None:
        token = os.environ.get("RAG_MILVUS_TOKEN", "")
        client = MilvusClient(
            uri=uri,
            token=token,
            db_name=_DEFAULT_DATABASE if self._makes_database else self._config.database,
            timeout=self._config.timeout_s,
            grpc_options=GRPC_OPTIONS,
        )
        self._lite = "lite" in client.get_server_version(timeout=self._config.timeout_s)
        if self._makes_database:
            database = self._config.database
            if database not in client.list_databases(timeout=self._config.timeout_s):
                client.create_database(database, timeout=self._config.timeout_s)
            client.use_database(database, timeout=self._config.timeout_s)
        self._client = client

    def _release(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        if self._folder is not None:
            self._folder.stop()

    @property
    def _milvus(self) -> MilvusClient:
        if self._client is None:
            raise StageUnavailable("the index is not open yet: retry in a moment")
        return self._client

    def _collection(self, fingerprint: str) -> str:
        """A collection's name. What follows the prefix has no underscore, so no prefix can be the start of another."""
        if not re.fullmatch(r"[A-Za-z0-9]{1,64}", fingerprint):
            fingerprint = hashlib.blake2b(fingerprint.encode(), digest_size=16).hexdigest()
        return f"{self._config.collection_prefix}_{fingerprint}"

    def _collections(self) -> list[str]:
        names: list[str] = self._milvus.list_collections(timeout=self._config.timeout_s)
        return [name for name in names if re.fullmatch(rf"{self._config.collection_prefix}_[A-Za-z0-9]+", name)]

    def _load(self, name: str) -> bool:
        """Whether the collection is there; if so it can be searched from now on."""
        if name in self._loaded:
            return True
        with self._loading:
            if name not in self._loaded:
                if not self._milvus.has_collection(name, timeout=self._config.timeout_s):
                    return False
                self._index(name)
                self._milvus.load_collection(name, timeout=self._config.timeout_s)
                self._loaded.add(name)
        return True

    def _index(self, name: str) -> None:
        if self._indexed(name):
            return
        try:
            # Not waited for: the client polls every half second, and loading waits anyway.
            self._milvus.create_index(name, self._indexes(), sync=False, timeout=self._config.timeout_s)
        except MilvusException:
            if not self._indexed(name):  # another replica was not first either
                raise

    def _indexed(self, name: str) -> bool:
        return len(self._milvus.list_indexes(name, timeout=self._config.timeout_s)) >= 2

    def _count(self, name: str, expression: str = "") -> int:
        return int(self._query(name, expression, ["count(*)"])[0]["count(*)"])

    def _refuse_other_embedder(self, name: str, scope: Scope) -> None:
        """Raises EmbedderMismatch if the asker has passages, and all of them are another embedder's. Only the asker's:
        what others have must not change an answer."""
        expression = scope_expression(Scope(scope.tenant_id, scope.user_id, seen=scope.seen))
        if self._load(name) and self._count(name, expression):
            return
        if filled := [each for each in self._collections() if self._load(each) and self._count(each, expression)]:
            mine, *others = (each.removeprefix(f"{self._config.collection_prefix}_") for each in (name, *filled))
            raise embedder_mismatch(mine, others)

    def _search(self, call: Call, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        try:
            return self._search_loaded(call, requests)
        except MilvusException as error:
            if error.code != _NOT_LOADED:
                raise
            # A restarted server has forgotten that the collection was loaded.
            self._loaded.discard(call.name)
            return self._search_loaded(call, requests) if self._load(call.name) else [[] for _ in requests]

    def _search_loaded(self, call: Call, requests: Sequence[RetrievalRequest]) -> list[list[Candidate]]:
        """One half's best candidates for each request. The other half's vector comes with them, so that each has both
        its scores."""
        dense = call.half == "dense"
        found = self._milvus.search(
            call.name,
            [each.dense.vectors[0].tolist() if dense else dict(each.lexical) for each in requests],
            anns_field=call.half,
            filter=call.expression,
            limit=call.limit,
            output_fields=[*_STORED, "position", "metadata", "lexical" if dense else "dense"],
            search_params={"metric_type": "IP"},
            consistency_level=ConsistencyLevel.Strong,
            timeout=self._config.timeout_s,
        )
        scored = _dense_candidates if dense else _lexical_candidates
        return [scored(request, hits) for request, hits in zip(requests, found, strict=True)]

    def _window(self, expression: str) -> list[Passage]:
        """Passages by position. While two embedders have the version, both have its passages, under the same ids."""
        found: dict[str, Passage] = {}
        for name in self._collections():
            if self._load(name):
                for row in self._query(name, expression, [*_STORED, "position", "metadata"]):
                    found[row["id"]] = _passage(row)
        return sorted(found.values(), key=lambda passage: passage.position)

    def _copy(self, expression: str, copy: VersionCopy) -> int:
        written = set()
        for name in self._collections():
            if self._load(name):
                rows = self._query(name, expression, [*_STORED, "position", "metadata", "dense", "lexical"])
                entries = [copied(_entry(row), copy) for row in rows]
                for entry in entries:
                    check_passage(entry.passage)
                if entries:
                    self._upsert(name, len(entries[0].dense), [_row(entry) for entry in entries])
                written |= {entry.passage.id for entry in entries}
        return len(written)

    def _query(self, name: str, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._milvus.query(
            name,
            filter=expression,
            output_fields=fields,
            consistency_level=ConsistencyLevel.Strong,
            timeout=self._config.timeout_s,
        )
        return rows

    def _upsert(self, name: str, dimension: int, rows: list[dict[str, Any]]) -> None:
        if not self._load(name):
            self._create(name, dimension)
        # On milvus-lite upsert keeps the old row's dynamic fields, and insert replaces the row. On a server insert
        # would leave two rows with one key.
        write = self._milvus.insert if self._lite else self._milvus.upsert
        write(name, rows, timeout=self._config.timeout_s)
        self._flush(name)

    def _delete(self, expression: str) -> int:
        removed = 0
        for name in self._collections():
            if self._load(name) and (found := self._count(name, expression)):
                self._milvus.delete(name, filter=expression, timeout=self._config.timeout_s)
                self._flush(name)
                removed += found
        return removed

    def _drop(self) -> None:
        for name in self._collections():
            self._milvus.drop_collection(name, timeout=self._config.timeout_s)
        if self._makes_database:
            self._milvus.drop_database(self._config.database, timeout=self._config.timeout_s)
        self._loaded.clear()

    def _flush(self, name: str) -> None:
        """milvus-lite writes its log without fsync and searches rows in memory 30 times slower than those in a file. A
        server's log is durable at once, and flushing it often is refused."""
        if self._lite:
            self._milvus.flush(name, timeout=self._config.timeout_s)

    def _create(self, name: str, dimension: int) -> None:
        try:
            self._milvus.create_collection(
                name,
                schema=_schema(dimension),
                num_partitions=PARTITIONS,
                consistency_level=ConsistencyLevel.Strong,
                timeout=self._config.timeout_s,
            )
        except MilvusException:
            # Another replica may have been first.
            if not self._load(name):
                raise
        self._load(name)

    def _indexes(self) -> IndexParams:
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("dense", index_type="FLAT" if self._lite else "AUTOINDEX", metric_type="IP")
        indexes.add_index("lexical", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        return indexes


def _dense_candidates(request: RetrievalRequest, hits: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    return [
        Candidate(
            _passage(hit["entity"]),
            Scores(
                dense=float(hit["distance"]),
                lexical=_inner_product(request.lexical, hit["entity"]["lexical"]) if request.lexical else None,
            ),
        )
        for hit in hits
    ]


def _lexical_candidates(request: RetrievalRequest, hits: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    return [
        Candidate(
            _passage(hit["entity"]),
            Scores(
                dense=_cosine(request, hit["entity"]["dense"]),
                lexical=float(hit["distance"]),
            ),
        )
        for hit in hits
        if hit["distance"] > 0
    ]


def _cosine(request: RetrievalRequest, passage: Sequence[float]) -> float | None:
    """None for a question without a vector."""
    return next((float(np.dot(np.asarray(passage, np.float32), question)) for question in request.dense.vectors), None)


def _schema(dimension: int) -> CollectionSchema:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=32)
    for field in _STORED:
        schema.add_field(field, DataType.VARCHAR, max_length=MAX_BYTES[field], is_partition_key=field == "tenant_id")
    schema.add_field("position", DataType.INT64)
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_field("lexical", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def _row(entry: IndexEntry) -> dict[str, Any]:
    passage = entry.passage
    key = hashlib.blake2b(f"{passage.tenant_id}\0{passage.id}".encode(), digest_size=16).hexdigest()
    return {
        **facets(passage.metadata),
        **{field: getattr(passage, field) for field in _STORED},
        "pk": key,
        "position": passage.position,
        "metadata": dict(passage.metadata),
        "dense": entry.dense.tolist(),
        "lexical": dict(entry.lexical) or {NO_TERMS: 1.0},
    }


def _entry(entity: Mapping[str, Any]) -> IndexEntry:
    return IndexEntry(_passage(entity), np.asarray(entity["dense"], dtype=np.float32), entity["lexical"])


def _passage(entity: Mapping[str, Any]) -> Passage:
    return Passage(
        **{field: entity[field] for field in _STORED}, position=int(entity["position"]), metadata=entity["metadata"]
    )


def _inner_product(question: Mapping[int, float], passage: Mapping[int, float]) -> float:
    return sum(weight * passage.get(term, 0.0) for term, weight in question.items())
