"""Worlds with and without other tenants, in an event loop of their own, and what a caller sees of their answers."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from deployments.ingestion.parsing import DocumentParser
from serve_app.config.args import ApiConfig
from serve_app.platform.retention_config import RetentionConfig
from tests.support.world import INGESTION, World, world

T = TypeVar("T")
TENANTS = ("a", "b", "c")
MOMENT_S = 1e-3
WORK = INGESTION.model_copy(update={"remove_every_s": 1, "poll_s": 3_600})
"""Five worlds that look for something to remove five times a second spend a seventh of their transactions on it. A
worker that looked by itself would take documents that are held."""
LIMITS = ApiConfig(key_cache_s=5)
"""Keys and tenants are cached, for as long as they may be."""
RETENTION = RetentionConfig(sweep_every_s=MOMENT_S, compare_every_s=MOMENT_S)
"""A sweep is due whenever it is asked for."""
PATIENCE_S = 15
"""Of a job with one short document. Without some of the filters it is never done."""
_DRAWN = re.compile(
    r"\b(?:job|key)_[0-9a-f]{32}\b|\b(?:[0-9a-f]{32}){1,2}(?:\.\d+-[0-9a-f]{8}|-[0-9a-f]{16})?\b|\brag_[0-9a-f]{8}(?:_[\w-]{43})?"
)
_TIMED = {
    "created",
    "created_at",
    "updated_at",
    "at",
    "expires_at",
    "revoked_at",
    "last_used_at",
    "timings",
    "request_id",
    "trace_id",
    "traceparent",
    "X-Request-ID",
}


@dataclass(frozen=True)
class Seen:
    """What a caller sees of an answer."""

    status: int
    kind: str
    replayed: bool
    body: Any

    @classmethod
    def of(cls, answer: httpx.Response) -> Self:
        kind = answer.headers.get("content-type", "").split(";")[0]
        if kind == "text/event-stream":
            told = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
            body: Any = [each if each == "[DONE]" else json.loads(each) for each in told]
        elif kind == "application/x-ndjson":
            body = [json.loads(line) for line in answer.text.splitlines() if line]
        else:
            body = (answer.json() if kind.endswith("json") else answer.text) if answer.content else None
        return cls(answer.status_code, kind, "idempotent-replayed" in answer.headers, _constant(body))


def _constant(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: "*" if key in _TIMED else _constant(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_constant(inner) for inner in value]
    return _DRAWN.sub("*", value) if isinstance(value, str) else value


class Worlds:
    """`all` tenants, each alone, and the watched one without what its first user keeps private. They live as long as
    this does; every run of the machine brings tenants of its own."""

    def __init__(
        self,
        folder: Path,
        index: str = "embedded",
        *,
        kind: type[World] = World,
        others: Mapping[str, World] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`others` than `all`, where there are such already. `patience_s`: that of all worlds."""
        # It runs between operations too. Otherwise a worker's transaction would stand still until the next operation,
        # and hold SQLite's lock meanwhile.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worlds", daemon=True)
        self._thread.start()
        self.patience_s = patience_s
        self.stack = AsyncExitStack()
        self.named: dict[str, World] = dict(others or {})
        self.runs = 0
        self.operations = 0
        self.run(self._open(folder, index, kind))

    async def _open(self, folder: Path, index: str, kind: type[World]) -> None:
        parser = DocumentParser(WORK)
        for name in ("all", *TENANTS, "without u1"):
            if name not in self.named:
                opened = world(
                    folder / name,
                    index=index,
                    limits=LIMITS,
                    ingestion=WORK,
                    retention=RETENTION,
                    parser=parser,
                    kind=kind,
                )
                self.named[name] = await self.stack.enter_async_context(opened)
                self.named[name].patience_s = self.patience_s

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In the worlds' event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
