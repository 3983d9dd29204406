"""The cost of the graph of deployments itself, with stages that take no time.

It runs behind HAProxy and set up for load, as Serve runs it by itself, and as a pipeline in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import aiohttp

from benchmarks.host import Hosted, hosted
from benchmarks.service import PREFIX, report

QUESTION = " ".join(f"riječ{number}" for number in range(16))
ONGOING = 64
MANY = 16
ALONE_QUESTIONS = 100
SECONDS = 8.0
"""Of sixteen clients in each repeat."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of a lone question until its first token and until its end; answers a second to sixteen clients."""

    first_ms: float
    alone_ms: float
    rate: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    from tests.support.service import on_fakes

    args = on_fakes(slots=ONGOING, word_ms=0)
    uncoalesced = {**args, "generation": {**args["generation"], "coalesce_ms": 0.0}}
    with hosted(args, haproxy=True) as ours, hosted(uncoalesced, haproxy=False) as stock:
        in_process, tuned, plain = list[float](), list[Figures](), list[Figures]()
        for number in range(repeats):
            in_process.append(asyncio.run(in_one_process()))
            for at, found in ((ours, tuned), (stock, plain))[:: 1 if number % 2 else -1]:
                found.append(asyncio.run(measured(at)))
            print(in_process[-1], tuned[-1], plain[-1], flush=True)
    report(
        {
            "overhead_ms_c1": _median([figures.alone_ms - own for figures, own in zip(tuned, in_process, strict=True)]),
            "rate_ratio_vs_stock_c16": _median([a.rate / b.rate for a, b in zip(tuned, plain, strict=True)]),
            "in_process_ms": _median(in_process),
            "haproxy": {of: _median([asdict(figures)[of] for figures in tuned]) for of in Figures.__slots__},
            "stock": {of: _median([asdict(figures)[of] for figures in plain]) for of in Figures.__slots__},
        }
    )


async def in_one_process() -> float:
    """Milliseconds of a question in the pipeline by itself, its stages in the same process."""
    from deployments.generation.config import GenerationConfig
    from deployments.generation.deployment import Generation
    from tests.support.pipeline import query
    from tests.support.world import world

    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        async with world(Path(folder), index="fake") as made:
            made.stages.generation = Generation(GenerationConfig(engine="fake"))
            took = []
            for number in range(ALONE_QUESTIONS):
                began = time.perf_counter()
                asked = replace(query(QUESTION), id=f"{number:032}")
                async with aclosing(made.services.queries.pipeline.answer(asked)) as messages:
                    async for _ in messages:
                        pass
                took.append(1_000 * (time.perf_counter() - began))
            return statistics.median(took)


async def measured(at: Hosted) -> Figures:
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {at.key}"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        for _ in range(MANY):
            await _ask(session, at.url)
        alone = [await _ask(session, at.url) for _ in range(ALONE_QUESTIONS)]
        end = time.perf_counter() + SECONDS

        async def client() -> int:
            answered = 0
            while time.perf_counter() < end:
                await _ask(session, at.url)
                answered += 1
            return answered

        began = time.perf_counter()
        answered = sum(await asyncio.gather(*(client() for _ in range(MANY))))
        rate = answered / (time.perf_counter() - began)
    return Figures(_median([first for first, _ in alone]), _median([whole for _, whole in alone]), rate)


async def _ask(session: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    began, first = time.perf_counter(), 0.0
    last = b""
    async with session.post(f"{url}/v1/query", json={"query": QUESTION, "language": "hr"}) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"event: "):
                last = line
                first = first or (time.perf_counter() - began if b"chunk" in line else 0.0)
    if last.strip() != b"event: complete":
        raise RuntimeError(f"an answer ended with {last!r}")
    return 1_000 * first, 1_000 * (time.perf_counter() - began)


def _median(values: Sequence[float]) -> float:
    return round(float(statistics.median(values)), 3)


if __name__ == "__main__":
    main()
