"""What searches find while a document is replaced and after documents are deleted, at length."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.service import report
from tests.support.editions import delete_one_by_one, replace_beside_searches
from tests.support.world import world


async def run(rounds: int) -> dict[str, float]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rag-bench-") as folder:
        async with world(Path(folder)) as service:
            await service.add_tenant("acme")
            searches = await replace_beside_searches(service, rounds)
            await service.call("acme", "DELETE", "/v1/documents/d")
            await delete_one_by_one(service, rounds // 10)
    return {
        "replacements": rounds,
        "searches": searches,
        "deletions": rounds // 10 * 10,
        "seconds": round(time.monotonic() - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    report(asyncio.run(run(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
