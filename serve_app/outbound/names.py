"""Looks host names up, in threads of its own and within a time limit."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from serve_app.outbound.config import ReachConfig
from serve_app.outbound.tenant_shares import TenantShares

AddressInfos = Sequence[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class LookupTimeout(OSError):
    """Raised where a host's addresses are not known in time."""


class NameLookups:
    """The lookups of one replica.

    The system's resolver cannot be interrupted. So a lookup that is given up after `lookup_s` keeps its thread, and its
    part of its tenant's share, until the resolver returns. Other tenants have the remaining threads, and everything
    else in the process has other threads.
    """

    def __init__(self, reach: ReachConfig, getaddrinfo: Callable[..., AddressInfos] = socket.getaddrinfo) -> None:
        self._timeout_s = reach.lookup_s
        self._getaddrinfo = getaddrinfo
        self._threads = ThreadPoolExecutor(reach.lookups, "name-lookup")  # starts a thread when one is needed
        self._shares = TenantShares(reach.tenant_lookups)

    def resolver(self, tenant_id: str) -> AbstractResolver:
        return _TenantResolver(self, tenant_id)

    async def look_up(self, tenant_id: str, host: str, port: int, family: int) -> AddressInfos:
        """The host's addresses. Raises OSError, of which LookupTimeout is one."""
        loop, share = asyncio.get_running_loop(), self._shares.of(tenant_id)

        def release(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(share.release)

        try:
            async with asyncio.timeout(self._timeout_s):
                await share.acquire()
                looking = self._threads.submit(
                    self._getaddrinfo, host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
                )
                looking.add_done_callback(release)
                return await asyncio.wrap_future(looking)
        except TimeoutError:
            raise LookupTimeout(f"its name was not looked up within {self._timeout_s:g} s") from None


class _TenantResolver(AbstractResolver):
    def __init__(self, lookups: NameLookups, tenant_id: str) -> None:
        self._lookups = lookups
        self._tenant_id = tenant_id

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        infos = await self._lookups.look_up(self._tenant_id, host, port, family)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=found, proto=protocol, flags=_NUMERIC
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Nothing of one request stays open."""
