"""Ctrl-C at random moments of `rag up`; `make bench NAME=interrupts` has fifty of them."""

from __future__ import annotations

import pytest

from tests.support.interrupting import Ended, Moment, interrupted, moments
from tests.support.starting import start_lock

pytestmark = pytest.mark.timeout(900)
WITHIN_S = 45.0
"""On a machine that runs other tests beside; short of the time after which `rag up` kills itself."""


def check(moment: Moment) -> Ended:
    with start_lock():
        ended = interrupted(moment, WITHIN_S)
    assert ended.took_s is not None, f"hung, interrupted {ended.moment}\n{ended.said}"
    assert ended.left == (), f"interrupted {ended.moment}\n{ended.said}"
    return ended


def test_a_start_and_a_stop_may_be_interrupted_at_any_moment() -> None:
    whole = check(Moment(None, None))
    assert whole.code == 0
    assert whole.up_s is not None
    assert whole.took_s is not None
    for moment in moments(4, seed=3, start_s=whole.up_s, stop_s=whole.took_s):
        check(moment)
