"""The connection to Milvus: its client, the threads that call it, the time a call may take, and the errors."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

import grpc  # type: ignore[import-untyped]
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from deployments.errors import StageUnavailable
from deployments.retrieval.config import RetrievalConfig

# It logs a traceback for every failed call. Every such failure becomes an error of ours anyway.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

P = ParamSpec("P")
R = TypeVar("R")

CLOSE_TIMEOUT_S = 5.0
GRPC_OPTIONS = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 2_000}
"""After an outage pymilvus makes a new channel. By default that channel shares the old one's back-off of up to two
minutes, so a server that is back would go unnoticed."""
_DEFAULT_DATABASE = "default"


class MilvusConnection:
    """Runs blocking calls to Milvus on threads of its own, each at most `timeout_s` long.

    For a server that is milvus-lite there is one thread. More would not be faster. A search during a flush can miss
    rows that are on their way from memory to a file. Of two flushes at once, the later can write its manifest first,
    which then refuses the other's rows.
    """

    def __init__(self, config: RetrievalConfig, *, makes_database: bool = False) -> None:
        """`makes_database`: create `config.database` when it is missing, and let `drop_database` remove it."""
        self.is_lite = False
        """Whether the engine is milvus-lite. Known once `open` has returned."""
        self.threads = config.threads
        self._config = config
        self._makes_database = makes_database
        self._pool = _pool(self.threads)
        self._client: MilvusClient | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def client(self) -> MilvusClient:
        """Raises StageUnavailable before `open`."""
        if self._client is None:
            raise StageUnavailable("the index is not open yet: retry in a moment")
        return self._client

    async def open(self) -> None:
        """Connect. Idempotent. Raises StageUnavailable."""
        async with self._opening:
            if self._client is None:
                await self.run(self._connect, self._config.uri)
                if self.is_lite and self.threads > 1:
                    self._pool.shutdown(wait=False)
                    self.threads = 1
                    self._pool = _pool(self.threads)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call on one of the threads. Raises StageUnavailable for every failure of Milvus."""
        if self._closed:
            raise StageUnavailable("the index is closed: this replica is stopping, ask another")
        call = asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))
        try:
            async with self.timeout():
                return await call
        except (MilvusException, grpc.RpcError, OSError) as error:
            detail = str(getattr(error, "message", "") or error)[:300]
            raise StageUnavailable(
                "the index failed; try again", internal=f"Milvus at {self._config.uri}: {detail}"
            ) from error

    @asynccontextmanager
    async def timeout(self) -> AsyncIterator[None]:
        """Raises StageUnavailable when the block takes longer than `timeout_s`."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                yield
        except TimeoutError:
            raise StageUnavailable(
                f"the index did not answer in {self._config.timeout_s:g} s (retrieval.timeout_s)",
                internal=f"Milvus at {self._config.uri}",
            ) from None

    def has_database(self) -> bool:
        """Whether the database is still there. Blocks; call it through `run`."""
        return self._config.database in self.client.list_databases(timeout=self._config.timeout_s)

    def drop_database(self) -> None:
        """Drop the database if this connection made it. Blocks; call it through `run`."""
        if self._makes_database:
            self.client.drop_database(self._config.database, timeout=self._config.timeout_s)

    def close(self) -> None:
        """Disconnect. Idempotent; blocks for at most `CLOSE_TIMEOUT_S`."""
        if not self._closed:
            self._closed = True
            try:
                self._pool.submit(self._release).result(CLOSE_TIMEOUT_S)
            except RuntimeError:
                # The interpreter is ending and takes no more work.
                pass
            finally:
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _connect(self, uri: str) -> None:
        timeout_s, database = self._config.timeout_s, self._config.database
        client = MilvusClient(
            uri=uri,
            token=os.environ.get("RAG_MILVUS_TOKEN", ""),
            db_name=_DEFAULT_DATABASE if self._makes_database else database,
            timeout=timeout_s,
            grpc_options=GRPC_OPTIONS,
        )
        self.is_lite = "lite" in client.get_server_version(timeout=timeout_s)
        if self._makes_database:
            if database not in client.list_databases(timeout=timeout_s):
                client.create_database(database, timeout=timeout_s)
            client.use_database(database, timeout=timeout_s)
        self._client = client

    def _release(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="milvus")
