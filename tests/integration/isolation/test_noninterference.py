"""A slice of what `make bench NAME=isolation` runs at length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.tenancies import Tenancies
from tests.support.worlds import Worlds


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    made = Worlds(tmp_path)
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_nobody_feels_what_is_not_theirs(worlds: Worlds) -> None:
    machine = type("Slice", (Tenancies,), {"worlds": worlds})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert worlds.operations > 50
