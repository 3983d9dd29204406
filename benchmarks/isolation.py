"""Non-interference at length: random operations of three tenants with two users each, with and without the others."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.service import report
from tests.support.tenancies import Tenancies, Worlds

STEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as folder:
        worlds = Worlds(Path(folder))
        machine = type("AtLength", (Tenancies,), {"worlds": worlds})
        rounds = 0
        try:
            while worlds.operations < arguments.operations:
                rounds += 1
                run_state_machine_as_test(
                    machine,
                    settings=settings(
                        max_examples=10,
                        stateful_step_count=STEPS,
                        deadline=None,
                        database=None,
                        suppress_health_check=list(HealthCheck),
                    ),
                )
                print(f"{worlds.operations} operations, {worlds.runs} sets of tenants", flush=True)
        finally:
            worlds.close()
    report({"operations": worlds.operations, "interferences": 0, "seconds": round(time.monotonic() - began)})


if __name__ == "__main__":
    main()
