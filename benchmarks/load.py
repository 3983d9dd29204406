"""Questions at a rate, each when it is due whether or not those before it are answered: a process of its own.

Prints what came of each as JSON: when it was due, the status, milliseconds from then until the first token and the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Outcome:
    """`due` in seconds from the first. `first_ms` and `total_ms` from when it was due; None where it did not come to
    that. `told_when`: whether a refusal said when to try again."""

    due: float
    status: int
    first_ms: float | None
    total_ms: float
    complete: bool
    told_when: bool


@dataclass(frozen=True, slots=True)
class Load:
    """`deadline_ms` 0 leaves the service's own. Arrivals are Poisson's, the same for the same seed."""

    url: str
    key: str
    rate: float
    seconds: float
    words: int
    stream: bool
    deadline_ms: int = 0
    seed: int = 1


@contextmanager
def offered(*loads: Load) -> Iterator[list[Offered]]:
    """The loads, each from a process of its own, until they are all over."""
    running = [Offered(load) for load in loads]
    try:
        yield running
        for load_process in running:
            load_process.wait()
    finally:
        for load_process in running:
            load_process.process.kill()
            load_process.process.wait()


class Offered:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.outcomes: Sequence[Outcome] = ()
        arguments = [load.url, load.rate, load.seconds, load.words, int(load.stream), load.deadline_ms, load.seed]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        self.process.stdin.write(f"{load.key}\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        out, _ = self.process.communicate()
        self.outcomes = [Outcome(*fields) for fields in json.loads(out)]


async def run(load: Load) -> list[Outcome]:
    draw = random.Random(load.seed)
    headers = {"Authorization": f"Bearer {load.key}"}
    if load.deadline_ms:
        headers["X-Deadline-Ms"] = str(load.deadline_ms)
    asked: list[asyncio.Task[Outcome]] = []
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        began, due = time.perf_counter(), 0.0
        while (due := due + draw.expovariate(load.rate)) < load.seconds:
            await asyncio.sleep(began + due - time.perf_counter())
            question = " ".join(f"riječ{draw.randrange(10_000)}" for _ in range(load.words))
            asked.append(asyncio.create_task(_ask(session, load, question, began, due)))
        return list(await asyncio.gather(*asked))


async def _ask(session: aiohttp.ClientSession, load: Load, question: str, began: float, due: float) -> Outcome:
    first: float | None = None
    complete = told = False
    status = 0

    def since() -> float:
        return 1_000 * (time.perf_counter() - began - due)

    try:
        body = {"query": question, "language": "hr", "stream": load.stream, "max_tokens": load.words}
        async with session.post(f"{load.url}/v1/query", json=body) as answer:
            status, told = answer.status, "Retry-After" in answer.headers
            if status == 200 and load.stream:
                async for line in answer.content:
                    if first is None and line.startswith(b"event: chunk"):
                        first = since()
                    complete = complete or line.startswith(b"event: complete")
            else:
                await answer.read()
                complete = status == 200
    except (aiohttp.ClientError, TimeoutError):
        pass
    return Outcome(due, status, first, since(), complete, told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("url", str), ("rate", float), ("seconds", float), ("words", int), ("stream", int)):
        parser.add_argument(name, type=kind)
    parser.add_argument("deadline_ms", type=int)
    parser.add_argument("seed", type=int)
    given = vars(parser.parse_args())
    load = Load(key=sys.stdin.readline().strip(), **given | {"stream": bool(given["stream"])})
    outcomes = asyncio.run(run(load))
    print(json.dumps([[getattr(outcome, name) for name in Outcome.__slots__] for outcome in outcomes]))


if __name__ == "__main__":
    main()
