"""Long work in many short transactions, between which all others get their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TARGET_S: Final = 0.02
"""Time that one transaction of long work may take. On SQLite, all other writers wait meanwhile."""
_FIRST: Final = 20
_SMALLEST: Final = 5


class Pace:
    """How many rows the next transaction takes: as many as the last ones did in TARGET_S seconds.

    `size` is at most `largest`, and on a slow machine still a few.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.size = min(_FIRST, largest)
        self._took_s = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around the work of one transaction, once it has its locks."""
        began = time.monotonic()
        yield
        self._took_s = max(time.monotonic() - began, 0.001)
        wanted = min(2 * self.size, round(self.size * TARGET_S / self._took_s))
        self.size = min(self.largest, max(_SMALLEST, wanted))

    async def rest(self) -> None:
        """Between two transactions: as long as the last one took."""
        await asyncio.sleep(self._took_s)
