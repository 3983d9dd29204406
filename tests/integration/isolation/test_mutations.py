"""The non-interference tests can fail: with any one tenant filter gone, the scene that is named for it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from deployments.errors import Conflict, RateLimited
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support import mutations, scenario
from tests.support.milvus_server import LiteServer
from tests.support.recorded import Recorded, Replayed
from tests.support.storage import migrate
from tests.support.world import World
from tests.support.worlds import Worlds

Answers = Mapping[str, list[httpx.Response]]


def run(folder: Path, index: str, scene: str, *, kind: type[World] = World, alone: Answers | None = None) -> Worlds:
    others = {name: Replayed(answers) for name, answers in (alone or {}).items()}
    worlds = Worlds(folder, index, kind=kind, others=others)
    try:
        scenario.run(worlds, scene)
    finally:
        worlds.close()
    return worlds


@pytest.fixture(scope="module")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = LiteServer(tmp_path_factory.mktemp("milvus") / "data")
    server.start()
    yield server.uri
    server.stop()


@pytest.mark.parametrize(("index", "scene"), [*(("fake", scene) for scene in scenario.SCENES), *mutations.ON_AN_ENGINE])
def test_a_scene_passes_with_all_filters_and_fails_without_any_of_its_own(
    tmp_path: Path, index: str, scene: str, request: pytest.FixtureRequest
) -> None:
    """No filter changes anything where a tenant is alone. So those worlds are asked once, with all filters; a run
    without one asks only the world of all."""
    engine = request.getfixturevalue("milvus_uri") if index == "milvus" else index
    named = run(tmp_path / "recorded", engine, scene, kind=Recorded).named
    alone = {name: each.answers for name, each in named.items() if name != "all" and isinstance(each, Recorded)}
    run(tmp_path / "all filters", engine, scene, alone=alone)
    unnoticed = []
    for name in mutations.filters_of(index, scene):
        with mutations.without(name):
            try:
                run(tmp_path / name, engine, scene, alone=alone)
            except Exception:
                continue
        unnoticed.append(name)
    assert unnoticed == []


def test_each_filter_has_a_scene_or_is_implied() -> None:
    places = {found.place for found in mutations.sql_filters()}
    assert set(mutations.IMPLIED) < places
    with_scenes = places - set(mutations.IMPLIED) - set(mutations.CHECKED_HERE)
    assert set(mutations.SCENE_OF) == with_scenes | set(mutations.other_filters())
    assert set(mutations.SCENE_OF.values()) <= set(scenario.SCENES)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}"))
    await migrate(database)
    yield database
    await database.close()


async def test_uploads_do_not_feel_those_of_others(database: Database) -> None:
    await mutations.uploads_beside_others(database)


@pytest.mark.parametrize("name", mutations.CHECKED_HERE)
async def test_an_upload_without_its_filter_feels_those_of_others(database: Database, name: str) -> None:
    with mutations.without(name), pytest.raises((AssertionError, Conflict, RateLimited)):
        await mutations.uploads_beside_others(database)
