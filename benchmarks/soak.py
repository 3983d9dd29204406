"""Fifty thousand requests without a pause: no process of the service may grow, and none of them may fail."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass

import aiohttp
import psutil

from benchmarks.host import Hosted, hosted
from benchmarks.service import report

QUESTION = " ".join(f"riječ{number}" for number in range(16))
REQUESTS: tuple[tuple[str, dict[str, object], bytes], ...] = (
    ("/v1/query", {"query": QUESTION, "language": "hr"}, b"event: complete"),
    ("/v1/search", {"query": QUESTION, "language": "hr"}, b'"results"'),
    ("/v1/query", {"query": QUESTION, "language": "hr", "stream": False}, b'"finish_reason"'),
    ("/v1/embeddings", {"model": "fake", "input": [QUESTION]}, b'"embedding"'),
)
"""In turns: route, body, and what an answer that is whole holds."""
CLIENTS = 16
WARM = 0.1
"""The part of the requests after which memory is held against what it was then."""
LOOK_S = 1.0
LOOKS = 10
"""So many of a process's sizes are one figure, their median."""


@dataclass(slots=True)
class Asked:
    done: int = 0
    failed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--stock-proxy", action="store_true", help="Serve's own proxy in front instead of HAProxy")
    arguments = parser.parse_args()
    from tests.support.service import on_fakes

    with hosted(on_fakes(slots=4 * CLIENTS, word_ms=0), haproxy=not arguments.stock_proxy) as at:
        began = time.monotonic()
        asked, grown = asyncio.run(soak(at, arguments.requests))
        minutes = (time.monotonic() - began) / 60
    report(
        {
            "proxy": "Serve's own" if arguments.stock_proxy else "HAProxy",
            "rss_growth_ratio": max(grown.values()),
            "failed": asked.failed,
            "requests": asked.done,
            "minutes": round(minutes, 1),
            "processes": dict(sorted(grown.items(), key=lambda item: -item[1])),
        }
    )


async def soak(at: Hosted, requests: int) -> tuple[Asked, dict[str, float]]:
    """What came of the requests, and each process's size at the end over that when a tenth was answered."""
    asked, warm = Asked(), asyncio.Event()
    left = iter(range(requests))
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {at.key}"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def client() -> None:
            for number in left:
                asked.failed += not await _is_answered(session, at.url, number)
                asked.done += 1
                if asked.done >= WARM * requests:
                    warm.set()

        clients = asyncio.gather(*(client() for _ in range(CLIENTS)))
        await warm.wait()
        before = await sizes(at)
        await clients
        after = await sizes(at)
    kept = before.keys() & after.keys()
    return asked, {f"{_name(process)} ({process.pid})": round(after[process] / before[process], 3) for process in kept}


async def sizes(at: Hosted) -> dict[psutil.Process, float]:
    """Bytes resident, of each process that serves."""
    found: dict[psutil.Process, list[int]] = {}
    for _ in range(LOOKS):
        for process in psutil.Process(at.pid).children(recursive=True):
            try:
                found.setdefault(process, []).append(process.memory_info().rss)
            except psutil.Error:
                continue
        await asyncio.sleep(LOOK_S)
    return {process: statistics.median(looks) for process, looks in found.items() if len(looks) == LOOKS}


async def _is_answered(session: aiohttp.ClientSession, url: str, number: int) -> bool:
    route, body, whole = REQUESTS[number % len(REQUESTS)]
    try:
        async with session.post(f"{url}{route}", json=body) as answer:
            return answer.status == 200 and whole in await answer.read()
    except (aiohttp.ClientError, TimeoutError):
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.cmdline()[0]).rsplit("/", 1)[-1]
    except (psutil.Error, IndexError):
        return "?"


if __name__ == "__main__":
    main()
