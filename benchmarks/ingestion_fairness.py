"""One tenant has 2,000 documents queued: how long do another one's 20 take, and is the rate of both what one's is?

Of each repeat: tenant B hands in 20 documents to the idle service. Then tenant A hands in 2,000. While these are
indexed, as many of them as B has are timed. Then B hands in 20 more. A's remaining documents are cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.reindex import VOCABULARY
from benchmarks.service import Service, report, running

OTHERS = 20
"""Documents of B."""
WORDS = 150
"""Of a document: one passage."""
FILES = 1_000
"""In one request."""
POLL_S = 0.02
MOST_S = 900.0
"""For any of the waits."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Seconds and documents a second."""

    b_alone_s: float
    b_beside_s: float
    a_rate: float
    both_rate: float

    @property
    def b_ratio(self) -> float:
        """At half the rate, B takes twice as long as alone."""
        return self.b_beside_s / (2 * self.b_alone_s)


class Tenant:
    def __init__(self, service: Service, key: str, name: str) -> None:
        self.client = service.client(timeout_s=300, key=key)
        self.name = name
        self.words = random.Random(name)
        self.handed_in = 0

    def hand_in(self, count: int) -> list[str]:
        """New documents of one length; the ids of their jobs."""
        jobs = []
        for start in range(0, count, FILES):
            files = [self._file() for _ in range(min(FILES, count - start))]
            answer = self.client.post("/v1/documents", files=[("files", file) for file in files])
            jobs.append(answer.raise_for_status().json()["job_id"])
        return jobs

    def indexed(self, jobs: list[str]) -> int:
        """How many documents of the jobs are indexed. Raises RuntimeError if one failed."""
        counts = {job["id"]: job["counts"] for job in self._get("/v1/jobs")["jobs"]}
        if any(counts[job]["failed"] for job in jobs):
            raise RuntimeError(f"documents of {self.name} failed")
        return sum(counts[job]["indexed"] for job in jobs)

    def wait(self, jobs: list[str], count: int) -> float:
        """The moment at which so many documents of the jobs are indexed."""
        end = time.monotonic() + MOST_S
        while self.indexed(jobs) < count:
            if time.monotonic() > end:
                raise RuntimeError(f"{count} documents of {self.name} were not indexed within {MOST_S:g} s")
            time.sleep(POLL_S)
        return time.monotonic()

    def cancel(self, jobs: list[str]) -> None:
        for job in jobs:
            self.client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
        while any(self._get(f"/v1/jobs/{job}")["state"] in ("queued", "running") for job in jobs):
            time.sleep(POLL_S)

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(path).raise_for_status().json()
        return found

    def _file(self) -> tuple[str, bytes, str]:
        self.handed_in += 1
        text = " ".join(self.words.choices(VOCABULARY, k=WORDS))
        return f"{self.name}{self.handed_in}.md", f"# {self.handed_in}\n\n{text}.".encode(), "text/markdown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--queued", type=int, default=2_000, help="documents of A")
    arguments = parser.parse_args()
    with running("--no-corpus") as service:
        service.wait_ready()
        a, b = (Tenant(service, key, name) for name, key in zip("ab", asyncio.run(keys(service)), strict=True))
        b.wait(b.hand_in(OTHERS), OTHERS)  # warm
        repeats = []
        for _ in range(arguments.repeats):
            repeats.append(repeat(a, b, arguments.queued))
            print(repeats[-1], flush=True)
    report(
        {
            "b_ratio": median(run.b_ratio for run in repeats),
            "throughput_ratio": median(run.both_rate / run.a_rate for run in repeats),
            "b_alone_s": median(run.b_alone_s for run in repeats),
            "b_beside_s": median(run.b_beside_s for run in repeats),
            "documents_per_s_of_a": median(run.a_rate for run in repeats),
            "documents_per_s_of_both": median(run.both_rate for run in repeats),
            "queued": arguments.queued,
            "repeats": len(repeats),
        }
    )


def repeat(a: Tenant, b: Tenant, queued: int) -> Repeat:
    began = time.monotonic()
    alone_s = b.wait(b.hand_in(OTHERS), OTHERS) - began
    jobs = a.hand_in(queued)
    before, first = a.indexed(jobs), time.monotonic()
    a_s = a.wait(jobs, before + 2 * OTHERS) - first
    before, began = a.indexed(jobs), time.monotonic()
    beside_s = b.wait(b.hand_in(OTHERS), OTHERS) - began
    meanwhile = a.indexed(jobs) - before
    a.cancel(jobs)
    return Repeat(alone_s, beside_s, 2 * OTHERS / a_s, (meanwhile + OTHERS) / beside_s)


def median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


async def keys(service: Service) -> list[str]:
    """Of two new tenants."""
    from serve_app.config.args import AppArgs
    from tests.support.service import make_key

    args = AppArgs(data_dir=str(service.data_dir)).resolved()
    return [await make_key(args, tenant) for tenant in ("a", "b")]


if __name__ == "__main__":
    main()
