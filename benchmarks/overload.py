"""Ten times more questions than the engine can answer, for a minute.

It counts how many are still answered in time, and looks for effects afterwards.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks.load import Load, Offered, Outcome, offered
from benchmarks.service import pss_mb, ray_folder, report, watched

SLOTS = 8
WORDS = 20
WORD_MS = 20
PEAK = SLOTS / (WORDS * WORD_MS / 1_000)
"""Answers a second that the engine can give: 20."""
OFFERED = 10 * PEAK
DEADLINE_MS = 2_000
SWEEP = (0.7, 0.85, 1.0, 1.15)
"""Rates offered, of the engine's peak; the best goodput among them is the peak."""
SWEEP_S = 10
SETTLE_S = 2.0
CALM_RATE = 5.0
CALM_S = 8.0
NORMAL = 1.5
"""Times the calm latency's 95th percentile: what is normal again."""
EXPECTED_5XX = (503, 504)


@dataclass(frozen=True, slots=True)
class Repeat:
    """`recovery_s`: after the flood, from when on no question took longer than normal."""

    peak: float
    goodput: float
    statuses: Counter[int]
    told_when: bool
    rss_before_mb: float
    rss_most_mb: float
    calm_p95_ms: float
    recovery_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="of overload in each repeat")
    parser.add_argument("--stock-proxy", action="store_true", help="Serve's own proxy in front instead of HAProxy")
    arguments = parser.parse_args()
    with ray_folder(haproxy=not arguments.stock_proxy) as folder:
        from tests.support.service import on_fakes, service

        with service(folder, on_fakes(SLOTS, WORD_MS), ingress={"max_ongoing_requests": 512}) as running:
            with offered(Load(running.url, running.key, PEAK, 5, WORDS, False)):
                pass  # warm
            with offered(Load(running.url, running.key, OFFERED, 5, WORDS, False, DEADLINE_MS)):
                pass
            repeats = []
            for number in range(arguments.repeats):
                repeats.append(repeat(running.url, running.key, arguments.seconds, number))
                print(repeats[-1], flush=True)
    statuses = sum((run.statuses for run in repeats), Counter[int]())
    report(
        {
            "proxy": "Serve's own" if arguments.stock_proxy else "HAProxy",
            "goodput_ratio": round(statistics.median(run.goodput / run.peak for run in repeats), 3),
            "peak_goodput_per_s": round(statistics.median(run.peak for run in repeats), 2),
            "overload_goodput_per_s": round(statistics.median(run.goodput for run in repeats), 2),
            "rss_growth_ratio": round(statistics.median(run.rss_most_mb / run.rss_before_mb for run in repeats), 3),
            "unexpected_5xx": sum(n for status, n in statuses.items() if status >= 500 and status not in EXPECTED_5XX),
            "no_answer": statuses[0],
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "refusals_told_when": all(run.told_when for run in repeats),
            "calm_p95_ms": round(statistics.median(run.calm_p95_ms for run in repeats)),
            "recovery_s": round(max(run.recovery_s for run in repeats), 2),
        }
    )


def repeat(url: str, key: str, seconds: float, number: int) -> Repeat:
    def load(rate: float, duration: float, deadline_ms: int = DEADLINE_MS) -> Load:
        return Load(url, key, rate, duration, WORDS, False, deadline_ms, seed=number)

    goodputs = []
    for part in SWEEP:
        with offered(load(part * PEAK, SWEEP_S)) as (swept,):
            pass
        goodputs.append(goodput(swept))
    with offered(load(CALM_RATE, CALM_S)) as (calm,):
        pass
    calm_p95 = statistics.quantiles([outcome.total_ms for outcome in calm.outcomes], n=20, method="inclusive")[-1]
    with watched(_held_mb, 1.0) as held, offered(load(OFFERED, seconds)) as (flood,):
        pass
    with offered(load(CALM_RATE, CALM_S)) as (after,):
        pass
    slow = [outcome.due for outcome in after.outcomes if not outcome.complete or outcome.total_ms > NORMAL * calm_p95]
    return Repeat(
        peak=max(goodputs),
        goodput=goodput(flood),
        statuses=Counter(outcome.status for outcome in flood.outcomes),
        told_when=all(outcome.told_when for outcome in flood.outcomes if outcome.status in (429, 503)),
        rss_before_mb=held[0],
        rss_most_mb=max(held),
        calm_p95_ms=calm_p95,
        recovery_s=max(slow, default=0.0),
    )


def goodput(load: Offered) -> float:
    """Answers a second that came within their deadline, from the settling of the load to its end."""
    return len([outcome for outcome in in_time(load.outcomes) if outcome.due >= SETTLE_S]) / (
        load.load.seconds - SETTLE_S
    )


def in_time(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.complete and outcome.total_ms <= DEADLINE_MS]


def _held_mb() -> float:
    """Of the proxy, the replicas and what else Ray runs; not of those who ask."""
    return pss_mb(process for process in psutil.Process().children(recursive=True) if not _asks(process))


def _asks(process: psutil.Process) -> bool:
    try:
        return any("benchmarks.load" in part for part in process.cmdline())
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
