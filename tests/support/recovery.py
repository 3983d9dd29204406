"""Streams that are open while a replica is killed, and the wait until the service answers again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.service import Running

PATIENCE_S = 600.0
"""Only ends a test that would wait for ever: how long a recovery takes is the machine's, and a benchmark's to tell."""
RETRYABLE = {"stage_unavailable", "overloaded", "deadline_exceeded", "unavailable"}


def is_retryable(message: Mapping[str, Any]) -> bool:
    """Whether a stream's last message tells its reader to ask again."""
    return message["type"] == "error" and message["retryable"] is True and message["code"] in RETRYABLE


async def until_end(running: Running, query: str, opened: asyncio.Event, *, max_tokens: int = 200) -> dict[str, Any]:
    """Read a stream to its last message; `opened` is set by its first chunk."""
    last: dict[str, Any] = {}
    async with running.stream(query, max_tokens=max_tokens) as stream:
        async for message in stream:
            last = message
            if message["type"] == "chunk":
                opened.set()
    return last


async def until_answered(running: Running, query: str, *, within_s: float = PATIENCE_S) -> float:
    """Seconds until a whole answer with its sources comes again."""
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=running.url, headers=running.headers, timeout=10, trust_env=False) as client:
        while time.monotonic() - began < within_s:
            try:
                answer = await client.post("/v1/query", json={"query": query, "stream": False, "max_tokens": 3})
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 200 and answer.json()["sources"]:
                return time.monotonic() - began
            assert answer.status_code in (500, 502, 503, 504), answer.text
            await asyncio.sleep(0.2)
    raise AssertionError(f"no answer within {within_s} s")
