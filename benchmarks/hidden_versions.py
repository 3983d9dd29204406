"""How long a search takes beside thousands of versions that it must not find.

So it is after a large deletion whose passages are not removed yet. Measured are the reading of their names in SQL, and
the search in each index.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.capacity_material import GENERATION, WRITTEN_AT_ONCE, Material
from benchmarks.service import PREFIX, report
from deployments.ingestion.base import RemovedVersion
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.types import IndexEntry, VisibleVersions
from serve_app.platform.tenants import Tenants
from serve_app.platform.visibility import MAX_WITH_DELETED, Visibility, hide, next_versions
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support.milvus_server import LiteServer

TENANT, LIMIT, REPEATS = "t", 40, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=MAX_WITH_DELETED)
    hidden = parser.parse_args().hidden
    # Every version has one passage, and there are as many live ones as hidden ones.
    kinds = {"none": [], "one_run": [*range(1, hidden + 1)], "every_second": [*range(1, 2 * hidden + 1, 2)]}
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, _milvus(Path(folder)) as uri:
        report(
            asyncio.run(
                _measured(Path(folder), kinds, 2 * hidden, {"embedded": str(Path(folder) / "index"), "milvus": uri})
            )
        )


@contextmanager
def _milvus(folder: Path) -> Iterator[str]:
    server = LiteServer(folder / "milvus")
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()


async def _measured(
    folder: Path, kinds: Mapping[str, Sequence[int]], versions: int, uris: Mapping[str, str]
) -> dict[str, object]:
    figures: dict[str, object] = {"hidden": len(kinds["one_run"]), "passages": versions}
    seen: dict[str, VisibleVersions] = {}
    for kind, numbers in kinds.items():
        database = await _database(folder / kind, numbers, versions)
        visibility = Visibility(database)

        async def read(visibility: Visibility = visibility) -> None:
            await visibility.visible_versions(TENANT)

        seen[kind] = replace(await visibility.visible_versions(TENANT), generation=GENERATION)
        figures[f"sql_{kind}_ms"] = await _median_ms(read)
        figures[f"names_{kind}"] = len(seen[kind].hidden) + 2 * len(seen[kind].hidden_runs)
        await database.close()
    # As a search was told of a run before: by the names of all in it.
    first, last = seen["one_run"].hidden_runs[0]
    seen["one_run_by_names"] = replace(
        seen["one_run"],
        hidden=tuple(_name(number) for number in range(int(first[1:]), int(last[1:]) + 1)),
        hidden_runs=(),
    )
    for index, uri in uris.items():
        figures |= await _searched(index, Retrieval(RetrievalConfig(uri=uri)), seen, versions)
    return figures


async def _database(folder: Path, hidden: Sequence[int], versions: int) -> Database:
    database = Database(StoreConfig(url=f"sqlite:///{folder / 'rag.db'}"))
    await database.migrate()
    await Tenants(database).ensure(TENANT)
    async with database.transaction() as session:
        await next_versions(session, {TENANT: versions})
        await hide(session, [RemovedVersion(TENANT, f"d{number}", _name(number)) for number in hidden])
    return database


async def _searched(
    name: str, index: Retrieval, seen: Mapping[str, VisibleVersions], versions: int
) -> dict[str, object]:
    material = Material(seed=1)
    for start in range(0, versions, WRITTEN_AT_ONCE):
        entries = material.entries(TENANT, min(WRITTEN_AT_ONCE, versions - start))
        await index.upsert(GENERATION, [_of_version(entry, start + n) for n, entry in enumerate(entries, 1)])
    request = material.request(TENANT, LIMIT)
    figures: dict[str, object] = {}
    for kind, visible in seen.items():
        asked = replace(request, scope=replace(request.scope, visible=visible))
        found = await index.search(asked)
        assert len(found) >= LIMIT
        assert all(visible.includes(each.passage.version) for each in found)

        async def search(asked: object = asked) -> None:
            await index.search(asked)  # type: ignore[arg-type]

        figures[f"{name}_{kind}_ms"] = await _median_ms(search)
    return figures


def _of_version(entry: IndexEntry, number: int) -> IndexEntry:
    passage = replace(entry.passage, version=_name(number), document_id=f"d{number}", owner="", collection="laws")
    return replace(entry, passage=passage)


def _name(number: int) -> str:
    return f"v{number:015d}"


async def _median_ms(work: Callable[[], Awaitable[None]]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.monotonic()
        await work()
        times.append(1_000 * (time.monotonic() - began))
    return round(statistics.median(times), 1)


if __name__ == "__main__":
    main()
