"""The HTTP client of the service, wherever the service is at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import httpx

KEEPALIVE_S = 2
"""Shorter than any service's keep-alive, so that no connection is closed just as a request is sent on it."""
CONNECT_S = 5
SILENCE_S = 330
"""How long the service may send nothing. A query that is not streamed may take the longest deadline, 300 s."""


class Unreachable(Exception):
    """There is no service to forward to."""


class Address(Protocol):
    """Hashable; equal ones share a client."""

    def options(self) -> Mapping[str, Any]:
        """Keyword arguments for an httpx client of this service."""


Locate = Callable[[], Awaitable[Address]]


class Upstream:
    """`locate` finds the service for each request: a local service starts, stops and moves. It raises Unreachable."""

    def __init__(self, locate: Locate, max_in_flight: int, silence_s: float = SILENCE_S) -> None:
        self._locate = locate
        self._limits = httpx.Limits(
            max_connections=max_in_flight, max_keepalive_connections=max_in_flight, keepalive_expiry=KEEPALIVE_S
        )
        self._timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
        self._clients: dict[Address, httpx.AsyncClient] = {}
        self._lock = asyncio.Lock()

    async def client(self) -> httpx.AsyncClient:
        """Raises Unreachable."""
        address = await self._locate()
        async with self._lock:
            if address not in self._clients:
                self._clients[address] = await asyncio.to_thread(self._make, address)
            return self._clients[address]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _make(self, address: Address) -> httpx.AsyncClient:
        options = dict(address.options())
        # Answers are passed on as they arrive, without decompression.
        headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
        return httpx.AsyncClient(headers=headers, limits=self._limits, timeout=self._timeout, **options)


def explain(error: httpx.TransportError, url: object) -> tuple[str, str]:
    """The code of a failed request, and a sentence about it."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return "unreachable", f"no service answers at {url}; start one with `rag up`, or name another with --url"
        case httpx.TimeoutException():
            return "timeout", f"the service at {url} is silent; look at `rag status` and the Ray dashboard"
        case _:
            return "connection_lost", f"the connection to {url} broke off ({str(error) or type(error).__name__})"
