"""Ctrl-C and SIGTERM: the first one interrupts; a second one, during the shutdown, kills at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType


class Signals:
    def __init__(self) -> None:
        self._force: Callable[[], None] | None = None
        self.install()

    def install(self) -> None:
        """Call it again after code that installs handlers of its own."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def force_with(self, force: Callable[[], None]) -> None:
        """From now on a signal calls `force` and ends this process."""
        self._force = force

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._force is None:
            raise KeyboardInterrupt
        self._force()
        os._exit(128 + number)
