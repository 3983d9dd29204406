"""One tenant floods: does another, which keeps to its share, wait longer? Two ingress replicas, one engine of fixed
delay."""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, Offered, offered
from benchmarks.service import ray_folder, report

SLOTS = 8
WORDS = 16
WORD_MS = 50
ANSWER_S = WORDS * WORD_MS / 1_000
PEAK = SLOTS / ANSWER_S
"""Answers a second that the engine can give."""
SHARE = PEAK / 2
B_OF_SHARE = 0.8
FLOOD = 20
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Repeat:
    peak: float
    calm_p95_ms: float
    flood_p95_ms: float
    flood_answers: float
    b_questions: int
    b_failed: int
    a_statuses: Counter[int]
    a_calm_refused: int
    told_when: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="of each of a repeat's three parts")
    parser.add_argument("--stock-proxy", action="store_true", help="Serve's own proxy in front instead of HAProxy")
    arguments = parser.parse_args()
    with ray_folder(haproxy=not arguments.stock_proxy) as folder, two_tenants(folder) as (url, a, b):
        with offered(Load(url, a, 2, 5, WORDS, True), Load(url, b, 2, 5, WORDS, True)):
            pass  # warm
        repeats = []
        for number in range(arguments.repeats):
            repeats.append(repeat(url, a, b, arguments.seconds, number))
            print(repeats[-1], flush=True)
    statuses = sum((run.a_statuses for run in repeats), Counter[int]())
    report(
        {
            "proxy": "Serve's own" if arguments.stock_proxy else "HAProxy",
            "b_ttft_p95_ratio": round(statistics.median(run.flood_p95_ms / run.calm_p95_ms for run in repeats), 3),
            "throughput_ratio": round(statistics.median(run.flood_answers / run.peak for run in repeats), 3),
            "b_ttft_p95_calm_ms": round(statistics.median(run.calm_p95_ms for run in repeats)),
            "b_ttft_p95_flood_ms": round(statistics.median(run.flood_p95_ms for run in repeats)),
            "b_questions_in_flood": sum(run.b_questions for run in repeats),
            "b_failed": sum(run.b_failed for run in repeats),
            "peak_per_s": round(statistics.median(run.peak for run in repeats), 2),
            "a_statuses_in_flood": {str(status): count for status, count in sorted(statuses.items())},
            "a_refused_in_calm": sum(run.a_calm_refused for run in repeats),
            "refusals_told_when": all(run.told_when for run in repeats),
        }
    )


def repeat(url: str, a: str, b: str, seconds: float, number: int) -> Repeat:
    def load(key: str, rate: float) -> Load:
        return Load(url, key, rate, seconds, WORDS, True, seed=2 * number + (key == b))

    with offered(load(a, 2 * PEAK)) as (alone,):
        pass
    with offered(load(a, SHARE), load(b, B_OF_SHARE * SHARE)) as (calm_a, calm_b):
        pass
    with offered(load(a, FLOOD * SHARE), load(b, B_OF_SHARE * SHARE)) as (flood_a, flood_b):
        pass
    return Repeat(
        peak=answers_per_s(alone),
        calm_p95_ms=first_p95(calm_b),
        flood_p95_ms=first_p95(flood_b),
        flood_answers=answers_per_s(flood_a, flood_b),
        b_questions=len(flood_b.outcomes),
        b_failed=sum(not outcome.complete for outcome in (*calm_b.outcomes, *flood_b.outcomes)),
        a_statuses=Counter(outcome.status for outcome in flood_a.outcomes),
        a_calm_refused=sum(not outcome.complete for outcome in calm_a.outcomes),
        told_when=all(outcome.told_when for outcome in flood_a.outcomes if outcome.status in (429, 503)),
    )


def first_p95(load: Offered) -> float:
    """Milliseconds to the first token. A question without an answer counts as the longest."""
    took = [outcome.total_ms if outcome.first_ms is None else outcome.first_ms for outcome in load.outcomes]
    return statistics.quantiles(took, n=20, method="inclusive")[-1]


def answers_per_s(*loads: Offered) -> float:
    """Answers that ended between the settling of the load and its end."""
    seconds = loads[0].load.seconds
    ends = [outcome.due + outcome.total_ms / 1_000 for load in loads for outcome in load.outcomes if outcome.complete]
    return sum(SETTLE_S <= end < seconds for end in ends) / (seconds - SETTLE_S)


@contextmanager
def two_tenants(folder: Path) -> Iterator[tuple[str, str, str]]:
    """A service's URL and the keys of two tenants."""
    from tests.support.service import make_key, on_fakes, two_ingress_replicas

    stages = on_fakes(SLOTS, WORD_MS) | {"api": {"max_query_characters": 20 * WORDS}}
    with two_ingress_replicas(folder, **stages) as running:
        keys = [asyncio.run(make_key(running.args, tenant)) for tenant in ("a", "b")]
        yield running.url, keys[0], keys[1]


if __name__ == "__main__":
    main()
