"""Bytes on the disk against a tenant's quota, after random uploads, cancels, replacements, deletions and crashes."""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from benchmarks.service import PREFIX, report
from serve_app.platform.tenants import Tenants
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support.disk import QUOTA, Disk


async def run(operations: int, seed: int) -> None:
    """Raises AssertionError if the disk was over the quota by more than one upload, or anything is left behind."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        database = Database(StoreConfig(url=f"sqlite:///{Path(folder) / 'rag.db'}"))
        await database.migrate()
        await Tenants(database).ensure("a")
        disk = Disk(database, Path(folder) / "blobs", random.Random(seed))
        try:
            await disk.work(operations)
            await disk.settle()
        finally:
            await database.close()
    report(
        {
            "operations": operations,
            "counts": dict(sorted(disk.counts.items())),
            "quota": QUOTA,
            "largest_upload": disk.largest_upload,
            "most_on_disk": disk.most,
            "left_without_a_row": 0,
            "seconds": round(time.monotonic() - began),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(run(given.operations, given.seed))


if __name__ == "__main__":
    main()
