from __future__ import annotations

import asyncio

import pytest

from serve_app.storage.batches import Pace


async def test_batches_grow_while_they_are_fast_and_shrink_when_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now, paused = [0.0], []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("serve_app.storage.batches.time.monotonic", lambda: now[0])
    monkeypatch.setattr(asyncio, "sleep", pause)
    pace, sizes = Pace(largest=100), []
    for took_s in (0.001, 0.001, 0.001, 0.2, 60):
        with pace.timed():
            now[0] += took_s
        await pace.rest()
        sizes.append(pace.size)
    assert sizes == [40, 80, 100, 10, 5]
    assert paused == pytest.approx([0.001, 0.001, 0.001, 0.2, 60]), "others get as much time as it took"
