"""Tenants' limits and shares over two ingress replicas, which share one limiter: PostgreSQL, and a fake engine."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import psutil
import pytest

from serve_app.admission.protocol import rate_slice
from serve_app.storage.tables import PLATFORM
from tests.support.service import Running, make_key, on_fakes, processes, replicas, two_ingress_replicas

pytestmark = pytest.mark.timeout(600)
SLOTS, WORD_MS, WORDS = 4, 50, 20
PER_MINUTE = 40
REPLICAS = 2
FLOOD = 80
"""Questions at once: first come first served, another's would wait longer than any question may."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with two_ingress_replicas(folder, **on_fakes(SLOTS, WORD_MS)) as started:
        assert len(replicas("ingress")) == REPLICAS
        yield started


def tenant(running: Running, name: str, **limits: int) -> str:
    """The key of a new tenant."""
    platform = {"Authorization": f"Bearer {asyncio.run(make_key(running.args, PLATFORM, 'platform'))}"}
    with running.client() as client:
        made = client.post("/v1/tenants", json={"id": name, "settings": {"limits": limits}}, headers=platform)
        made.raise_for_status()
    return asyncio.run(make_key(running.args, name))


def ask(client: httpx.Client, words: int) -> httpx.Response:
    return client.post("/v1/query", json={"query": " ".join(["riječ"] * words), "stream": False})


def assert_rate_holds(running: Running, name: str) -> None:
    """Of a new tenant that asks for some seconds much faster than it may."""
    asking = replace(running, key=tenant(running, name, requests_per_minute=PER_MINUTE))
    began = time.monotonic()

    def go_on(_: int) -> list[httpx.Response]:
        answers = []
        with asking.client() as client:
            while time.monotonic() < began + 8:
                answers.append(ask(client, 1))
        return answers

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for some in pool.map(go_on, range(8)) for answer in some]
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == f'"requests";q={PER_MINUTE};w=60'
        assert ("Retry-After" in answer.headers) is (answer.status_code == 429)
    answered = sum(answer.status_code == 200 for answer in answers)
    refilled = PER_MINUTE / 60 * (time.monotonic() - began)
    overshot = REPLICAS * rate_slice(PER_MINUTE)
    assert PER_MINUTE - overshot <= answered <= PER_MINUTE + refilled + overshot


def limiters() -> list[psutil.Process]:
    return processes("LimiterActor")


def test_a_rate_is_one_for_all_replicas(running: Running) -> None:
    assert_rate_holds(running, "rated")


def test_who_floods_is_refused_and_no_one_else(running: Running) -> None:
    greedy, modest = (replace(running, key=tenant(running, name)) for name in ("greedy", "modest"))
    over = threading.Event()

    def go_on() -> Counter[int]:
        statuses = Counter[int]()
        with greedy.client() as client:
            while not over.is_set():
                statuses[ask(client, WORDS).status_code] += 1
        return statuses

    with ThreadPoolExecutor(FLOOD) as pool, modest.client() as client:
        flood = [pool.submit(go_on) for _ in range(FLOOD)]
        try:
            time.sleep(3)
            statuses = [ask(client, WORDS).status_code for _ in range(8)]
        finally:
            over.set()
        seen = sum((each.result() for each in flood), Counter[int]())
    assert statuses == [200] * 8
    assert seen.keys() == {200, 429}


def test_without_the_limiter_questions_are_answered_and_the_next_one_counts_anew(running: Running) -> None:
    (limiter,) = limiters()
    os.kill(limiter.pid, signal.SIGKILL)
    with running.client() as client:
        assert ask(client, 1).status_code == 200
    end = time.monotonic() + 120
    while not (found := limiters()) or limiter in found:
        assert time.monotonic() < end, "no new limiter"
        time.sleep(0.5)
    time.sleep(3)  # both replicas find it
    assert_rate_holds(running, "rated-later")
