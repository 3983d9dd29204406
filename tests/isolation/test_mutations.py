"""The non-interference tests can fail: with any one tenant filter gone, they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import mutations, scenario
from tests.support.tenancies import Worlds

SQL = [each.place for each in mutations.sql_filters() if each.place not in mutations.IMPLIED]


def run(folder: Path, index: str) -> None:
    worlds = Worlds(folder, index)
    try:
        scenario.run(worlds)
    finally:
        worlds.close()


@pytest.mark.parametrize("index", ["fake", "milvus"])
def test_the_scenario_passes_with_all_filters(tmp_path: Path, index: str) -> None:
    run(tmp_path, index)


@pytest.mark.parametrize("name", SQL)
def test_without_a_filter_in_sql_it_fails(tmp_path: Path, name: str) -> None:
    with mutations.without(name), pytest.raises(Exception):  # noqa: B017, PT011
        run(tmp_path, "fake")


@pytest.mark.parametrize("name", sorted(mutations.other_filters()))
def test_without_another_filter_it_fails(tmp_path: Path, name: str) -> None:
    with mutations.without(name), pytest.raises(Exception):  # noqa: B017, PT011
        run(tmp_path, "milvus")


def test_the_filters_that_are_implied_exist() -> None:
    assert set(mutations.IMPLIED) < {each.place for each in mutations.sql_filters()}
