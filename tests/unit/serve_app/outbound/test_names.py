"""Looking names up: threads of its own, a time limit, and a share for each tenant."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from deployments.errors import Unreachable
from serve_app.outbound.config import ReachConfig
from serve_app.outbound.http import Http
from serve_app.outbound.names import LookupTimeout, NameLookups
from tests.support.waiting import BOUND_S, until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


class SlowDns:
    """A resolver of the system: hosts that begin with `slow` are answered once `answer` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> Sequence[tuple[Any, ...]]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.answer.wait(BOUND_S)
        return FOUND


@pytest.fixture
def dns() -> Iterator[SlowDns]:
    slow = SlowDns()
    yield slow
    slow.answer.set()


def lookups(dns: SlowDns, **limits: Any) -> NameLookups:
    return NameLookups(ReachConfig(**limits), dns)


async def test_slow_names_of_one_tenant_hold_up_neither_others_nor_other_work(dns: SlowDns) -> None:
    names = lookups(dns, lookups=3, tenant_lookups=2, lookup_s=BOUND_S)
    slow = [asyncio.create_task(names.look_up("a", f"slow{n}.test", 443, 0)) for n in range(8)]
    await until(lambda: len(dns.asked) == 2)
    assert await names.look_up("b", "docs.test", 443, 0) == FOUND
    assert await asyncio.to_thread(lambda: "at once") == "at once"
    assert len(dns.asked) == 3
    dns.answer.set()
    assert await asyncio.gather(*slow) == [FOUND] * 8


async def test_a_lookup_is_given_up_and_counts_until_dns_answers(dns: SlowDns) -> None:
    names = lookups(dns, lookups=4, tenant_lookups=1, lookup_s=0.05)
    for host in ("slow.test", "docs.test"):
        with pytest.raises(LookupTimeout, match=r"not looked up within 0\.05 s"):
            await names.look_up("a", host, 443, 0)
    assert dns.asked == ["slow.test"]
    dns.answer.set()

    async def found() -> bool:
        try:
            return await names.look_up("a", "docs.test", 443, 0) == FOUND
        except LookupTimeout:
            return False

    async with asyncio.timeout(BOUND_S):
        while not await found():
            pass


async def test_who_asks_is_told_that_the_name_was_too_slow(dns: SlowDns) -> None:
    reach = ReachConfig(lookup_s=0.05)
    http = Http(reach, resolver=NameLookups(reach, dns).resolver)
    with pytest.raises(Unreachable, match=r"slow\.test cannot be reached: its name was not looked up within 0\.05 s"):
        async with http.request("GET", "https://slow.test/", tenant_id="a", headers={}):
            pass


async def test_a_connection_that_fails_does_not_tell_the_address() -> None:
    reach = ReachConfig(networks=("127.0.0.1/32",), ports=(9,))
    with pytest.raises(Unreachable, match="localhost cannot be reached: Connection refused") as refused:
        async with Http(reach).request("GET", "https://localhost:9/", tenant_id="a", headers={}):
            pass
    assert "127.0.0.1" not in refused.value.message
