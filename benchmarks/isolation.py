"""Non-interference at length: random operations of three tenants with two users each, with and without the others."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, core, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.service import report
from tests.support.tenancies import Tenancies
from tests.support.worlds import Worlds

STEPS = 100
PATIENCE_S = 120
"""Of a job with one short document, on a busy machine too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each further round has the next one")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as folder:
        worlds = Worlds(Path(folder), patience_s=PATIENCE_S)
        machine = type("AtLength", (Tenancies,), {"worlds": worlds})
        rounds = 0
        try:
            while worlds.operations < arguments.operations:
                core.global_force_seed = arguments.seed + rounds
                rounds += 1
                run_state_machine_as_test(
                    machine,
                    settings=settings(
                        max_examples=10,
                        stateful_step_count=STEPS,
                        deadline=None,
                        database=None,
                        phases=[Phase.generate],  # a failure is shown as it is; its seed brings it again
                        suppress_health_check=list(HealthCheck),
                    ),
                )
                print(
                    f"{worlds.operations} operations, {worlds.runs} sets of tenants, seed {core.global_force_seed}",
                    flush=True,
                )
        finally:
            worlds.close()
    report({"operations": worlds.operations, "interferences": 0, "seconds": round(time.monotonic() - began)})


if __name__ == "__main__":
    main()
