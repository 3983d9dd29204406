from __future__ import annotations

import gc

import pytest

from deployments.startup import gc_paused


def test_the_collector_is_off_inside_and_on_again_after_a_failure() -> None:
    def fail() -> None:
        with gc_paused():
            assert not gc.isenabled()
            raise RuntimeError("loading failed")

    with pytest.raises(RuntimeError, match="loading failed"):
        fail()
    assert gc.isenabled()


def test_what_was_made_inside_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with gc_paused():
        made: list[list[int]] = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= before + len(made)


def test_what_a_failure_leaves_stays_in_sight() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(RuntimeError, match="loading failed"), gc_paused():
        raise RuntimeError("loading failed")
    assert gc.get_freeze_count() == before
