"""The API against its OpenAPI document at length: no server error, and no answer that the document does not know."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

from benchmarks.service import report
from tests.integration.api.openapi import rehearse

EXAMPLES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each round has the next one")
    arguments = parser.parse_args()
    began, cases, seed = time.monotonic(), 0, arguments.seed
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as folder:
        set_hypothesis_home_dir(Path(folder) / "hypothesis")
        while cases < arguments.cases:
            found = rehearse(Path(folder) / str(seed), examples=EXAMPLES, seed=seed)
            if found.defects:
                sys.exit("\n\n".join([*found.defects, f"{len(found.defects)} defects with --seed {seed}"]))
            cases, seed = cases + found.cases, seed + 1
            print(f"{cases} cases", flush=True)
    report({"cases": cases, "defects": 0, "seconds": round(time.monotonic() - began)})


if __name__ == "__main__":
    main()
