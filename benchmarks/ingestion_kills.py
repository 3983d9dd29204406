"""Documents accepted while processes are killed at random: each must end indexed once, or failed with a reason."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.service import report
from tests.support.killing import VICTIMS, kill_round, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    victims: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as folder, killed(Path(folder)) as service:
        for number in range(arguments.rounds):
            victim = chance.choice(VICTIMS)
            began = time.monotonic()
            kill_round(service, victim, number, chance)
            victims[victim] += 1
            print(f"round {number + 1}: {victim}, ready again after {time.monotonic() - began:.1f} s", flush=True)
        ended = service.settle()
        service.stop()
        service.reckon()  # ends the run with what is wrong
    report(
        {
            "rounds": arguments.rounds,
            "killed": dict(victims),
            "jobs": len(service.accepted),
            "indexed": ended["indexed"],
            "failed_with_a_reason": ended["failed"],
            "lost": 0,
            "twice": 0,
        }
    )


if __name__ == "__main__":
    main()
