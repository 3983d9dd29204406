"""The non-interference tests can fail: with any one tenant filter gone, they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.support import mutations, scenario
from tests.support.recorded import Recorded, Replayed
from tests.support.tenancies import Worlds
from tests.support.world import World

SQL = [each.place for each in mutations.sql_filters() if each.place not in mutations.IMPLIED]
Answers = Mapping[str, list[httpx.Response]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answers]:
    """By index, what each tenant is answered in a world of its own. No filter changes anything there, so these worlds
    are asked once, with all filters, and the runs without one ask only the world of all."""

    @cache
    def recorded(index: str) -> Answers:
        named = run(tmp_path_factory.mktemp(index), index, kind=Recorded).named
        return {name: each.answers for name, each in named.items() if name != "all" and isinstance(each, Recorded)}

    return recorded


def run(folder: Path, index: str, *, kind: type[World] = World, alone: Answers | None = None) -> Worlds:
    others = {name: Replayed(each) for name, each in (alone or {}).items()}
    worlds = Worlds(folder, index, kind=kind, others=others)
    try:
        scenario.run(worlds)
    finally:
        worlds.close()
    return worlds


@pytest.mark.parametrize("index", ["fake", "milvus"])
def test_the_scenario_passes_with_all_filters(tmp_path: Path, index: str, answers: Callable[[str], Answers]) -> None:
    run(tmp_path, index, alone=answers(index))


@pytest.mark.parametrize("name", SQL)
def test_without_a_filter_in_sql_it_fails(tmp_path: Path, name: str, answers: Callable[[str], Answers]) -> None:
    alone = answers("fake")
    with mutations.without(name), pytest.raises(Exception):  # noqa: B017, PT011
        run(tmp_path, "fake", alone=alone)


@pytest.mark.parametrize("name", sorted(mutations.other_filters()))
def test_without_another_filter_it_fails(tmp_path: Path, name: str, answers: Callable[[str], Answers]) -> None:
    alone = answers("milvus")
    with mutations.without(name), pytest.raises(Exception):  # noqa: B017, PT011
        run(tmp_path, "milvus", alone=alone)


def test_the_filters_that_are_implied_exist() -> None:
    assert set(mutations.IMPLIED) < {each.place for each in mutations.sql_filters()}
