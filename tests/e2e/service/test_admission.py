"""Tenants' limits and shares over two ingress replicas, which share one limiter: PostgreSQL, and a fake engine."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import httpx
import psutil
import pytest

from serve_app.admission.protocol import rate_slice
from serve_app.storage.declarative import PLATFORM
from tests.support import configurations
from tests.support.service import Running, make_key, processes, replicas

pytestmark = pytest.mark.timeout(900)
SERVICE = configurations.admission
WORDS = 20
PER_MINUTE = 40
REPLICAS = 2
CALLERS, REFUSALS = 8, 5
"""Callers at once, and the refusals after which each of them stops."""
PATIENCE_S = 600
FLOOD = 80
"""Questions at once: first come first served, another's would wait longer than any question may."""


@pytest.fixture
def running(shared: Running) -> Running:
    assert len(replicas("ingress")) == REPLICAS
    return shared


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
    """Of a new tenant that asks much faster than it may, until it has been refused often."""
    asking = replace(running, key=tenant(running, name, requests_per_minute=PER_MINUTE))
    began = time.monotonic()

    def go_on(_: int) -> list[httpx.Response]:
        answers = list[httpx.Response]()
        with asking.client() as client:
            while sum(answer.status_code == 429 for answer in answers) < REFUSALS:
                answers.append(ask(client, 1))
        return answers

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = [answer for some in pool.map(go_on, range(CALLERS)) for answer in some]
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
    established, refused, over = threading.Event(), threading.Event(), threading.Event()

    def go_on() -> Counter[int]:
        statuses = Counter[int]()
        with greedy.client() as client:
            while not over.is_set():
                status = ask(client, WORDS).status_code
                statuses[status] += 1
                (established if status == 200 else refused).set()
        return statuses

    with ThreadPoolExecutor(FLOOD) as pool, modest.client() as client:
        flood = [pool.submit(go_on) for _ in range(FLOOD)]
        try:
            assert established.wait(PATIENCE_S)
            statuses = [ask(client, WORDS).status_code for _ in range(8)]
            assert refused.wait(PATIENCE_S)
        finally:
            over.set()
        seen = sum((caller.result() for caller in flood), Counter[int]())
    assert statuses == [200] * 8
    assert seen.keys() == {200, 429}


def test_without_the_limiter_questions_are_answered_and_the_next_one_counts_anew(running: Running) -> None:
    (limiter,) = limiters()
    os.kill(limiter.pid, signal.SIGKILL)
    with running.client() as client:
        assert ask(client, 1).status_code == 200
    end = time.monotonic() + PATIENCE_S
    while not (found := limiters()) or limiter in found:
        assert time.monotonic() < end, "no new limiter"
        time.sleep(0.5)
    for attempt in count():  # each replica has its own part until it has found the new limiter
        try:
            assert_rate_holds(running, f"rated-later-{attempt}")
            break
        except AssertionError:
            if time.monotonic() > end:
                raise
