"""Waiting for a condition that has no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BOUND_S = 60.0
"""Only ends a test that would wait for ever."""


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds. Raises TimeoutError after `BOUND_S` seconds."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
