"""One round of every kind of kill; `make bench NAME=ingestion_kills` does fifty at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.killing import VICTIMS, kill_round, killed

pytestmark = pytest.mark.timeout(900)


def test_what_is_accepted_ends_indexed_once_or_failed_with_a_reason(tmp_path: Path) -> None:
    chance = random.Random(7)
    with killed(tmp_path) as service:
        for number, victim in enumerate(VICTIMS):
            kill_round(service, victim, number, chance)
        assert len(service.accepted) >= len(VICTIMS)
        ended = service.settle()
        assert ended["failed"] == len(service.accepted)
        service.stop()
        service.reckon()
