"""The index at its users' size: one tenant with 130,000 passages, and with `--million` a million of fifty tenants.

Searches go through the retrieval stage in this process, on the embedded default or, with `--uri`, on a Milvus server.
Vectors have 384 dimensions and lie in clusters, terms follow Zipf's law, and each search has the scope of a real one.
Passages and questions have token vectors, as the embedded default keeps and compares them. As in a replica of Ray's,
the linear algebra library has one thread; the index has its own. `sources_ms_p50` is of whole questions over HTTP, to a
service of the embedded default whose index was filled in the same way (see capacity_http.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.capacity_http import whole_questions
from benchmarks.capacity_material import GENERATION, WRITTEN_AT_ONCE, Material
from benchmarks.service import PREFIX, pss_mb, report
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.types import RetrievalRequest


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each call."""

    seconds: tuple[float, ...]

    def p(self, share: float) -> float:
        return round(float(np.quantile(self.seconds, share)) * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=130_000)
    parser.add_argument("--million", action="store_true", help="then a million passages of fifty tenants: long")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--limit", type=int, default=40, help="candidates from each half; the service's default")
    parser.add_argument("--questions", type=int, default=100, help="whole questions over HTTP; 0 leaves them out")
    parser.add_argument("--uri", help="a Milvus server to measure in place of the embedded index")
    arguments = parser.parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # read when numpy is imported
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.capacity", *sys.argv[1:]])
    figures = asyncio.run(measured(arguments, 1, arguments.passages))
    if arguments.questions:
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            figures |= whole_questions(Path(folder) / "var", arguments.passages, arguments.questions)
        print(f"whole questions: {figures}", flush=True)
    if arguments.million:
        million = asyncio.run(measured(arguments, 50, 20_000))
        figures |= {f"{name}_1m": value for name, value in million.items()}
    report(figures)


async def measured(arguments: argparse.Namespace, tenants: int, passages: int) -> dict[str, float]:
    """The figures of so many tenants with so many passages each."""
    material = Material(seed=tenants)
    names = [f"tenant-{number}" for number in range(tenants)]
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        config = RetrievalConfig(uri=arguments.uri or str(Path(folder) / "index"), timeout_s=120)
        with opened(config) as index:
            took = await fill(index, material, names, passages)
        with opened(config) as index:
            await index.status()
            first = await searched(index, material, names, arguments.limit)
            began = time.process_time()
            lone = await searched(index, material, _turns(names, arguments.searches), arguments.limit)
            computing = (time.process_time() - began) / arguments.searches
            gc.collect()
            memory = memory_gb()
            rate = await rate_of(index, material, _turns(names, arguments.searches), arguments.limit, clients=16)
            following = [await following_insert(index, material, names[0], arguments.limit) for _ in range(20)]
            beside = await beside_ingestion(index, material, names, arguments)
        disk = disk_gb(folder)
    figures = {
        "search_ms_p50": lone.p(0.5),
        "search_ms_p95": lone.p(0.95),
        "next_search_ms": Times(tuple(following)).p(1),
        "memory_gb": memory,
        "rate_c16": round(rate, 1),
        "search_cpu_ms": round(computing * 1000, 1),
        "p95_ratio": round(beside.p(0.95) / lone.p(0.95), 2),
        "first_search_ms": first.p(0.5),
        "write_rate": round(tenants * passages / took, 1),
        "disk_gb": disk,
    }
    print(f"{tenants} tenants, {passages} passages each: {figures}", flush=True)
    return figures


@contextmanager
def opened(config: RetrievalConfig) -> Iterator[Retrieval]:
    index = Retrieval(config)
    try:
        yield index
    finally:
        index.__del__()


async def fill(index: Retrieval, material: Material, tenants: list[str], passages: int) -> float:
    """Write all passages, tenant after tenant; returns the seconds that the index took for it."""
    took = 0.0
    for tenant_id in tenants:
        for entries in material.batches(tenant_id, passages):
            began = time.perf_counter()
            await index.upsert(GENERATION, entries)
            took += time.perf_counter() - began
    return took


async def searched(index: Retrieval, material: Material, tenants: list[str], limit: int) -> Times:
    """One client's searches, one after the other, in these tenants."""
    return Times(tuple([await timed(index, material.request(tenant_id, limit)) for tenant_id in tenants]))


async def timed(index: Retrieval, request: RetrievalRequest) -> float:
    began = time.perf_counter()
    found = await index.search(request)
    assert len(found) >= request.limit
    return time.perf_counter() - began


async def rate_of(index: Retrieval, material: Material, tenants: list[str], limit: int, *, clients: int) -> float:
    """Searches a second by so many clients, each of which sends its next when it has an answer."""
    requests = [material.request(tenant_id, limit) for tenant_id in tenants]

    async def client(first: int) -> None:
        for request in requests[first::clients]:
            await index.search(request)

    began = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    return len(requests) / (time.perf_counter() - began)


async def following_insert(index: Retrieval, material: Material, tenant_id: str, limit: int) -> float:
    """Seconds of the first search after an insert."""
    await index.upsert(GENERATION, material.entries(tenant_id, WRITTEN_AT_ONCE))
    return await timed(index, material.request(tenant_id, limit))


async def beside_ingestion(
    index: Retrieval, material: Material, tenants: list[str], arguments: argparse.Namespace
) -> Times:
    """One client's searches while a tenant's documents are ingested: batches as ingestion writes them, four a second,
    which is ten times as fast as two cores embed."""
    over = asyncio.Event()

    async def ingest() -> None:
        while not over.is_set():
            await index.upsert(GENERATION, material.entries(tenants[0], 64))
            await asyncio.sleep(0.25)

    ingesting = asyncio.create_task(ingest())
    try:
        return await searched(index, material, _turns(tenants, arguments.searches), arguments.limit)
    finally:
        over.set()
        await ingesting


def memory_gb() -> float:
    """Of this process, which is the retrieval stage's here, and of any that it started."""
    process = psutil.Process()
    return round(pss_mb([process, *process.children(recursive=True)]) / 1024, 2)


def disk_gb(folder: str) -> float:
    return round(sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**30, 2)


def _turns(tenants: list[str], number: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(tenants), number))


if __name__ == "__main__":
    main()
