"""Ctrl-C and SIGTERM: the first interrupts, a second one kills at once. A stop that takes too long is killed, too."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable
from types import FrameType

RETRY_S = 0.1
"""How long after an import that a signal has met, the signal is looked at again."""
STOP_S = 60.0
"""How long a stop may take beyond the time that answers are given to end. Then everything is killed."""


class Signals:
    """`force` ends the processes that this one has started. `stop_s` is how long an ordinary stop may take."""

    def __init__(self, force: Callable[[], None], stop_s: float = STOP_S) -> None:
        self._forced = [force]
        self._stop_s = stop_s
        self._number: int | None = None
        self._stopping = False
        self._repeats = False
        self.install()

    def install(self) -> None:
        """Call it again after code that installs handlers of its own."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come.

        The handler raises it, too. But Python drops what is raised in a destructor.
        """
        if self._number is not None:
            raise KeyboardInterrupt

    def stopping(self) -> None:
        """The stop has begun: a further signal kills at once."""
        self._stopping = True

    def when_killed(self, remove: Callable[[], None]) -> None:
        """Call this, too, before a kill ends this process."""
        self._forced.append(remove)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        repeats, self._repeats = self._repeats, False
        # The first may still be on its way: what it has met, as the start of a node, ends before `stopping` is called.
        if self._stopping or (self._number is not None and not repeats):
            self._kill(number)
        if self._number is None:
            self._number = number
            threading.Thread(target=self._kill_late, args=(number,), daemon=True).start()
        if not _is_importing(frame):
            raise KeyboardInterrupt
        threading.Timer(RETRY_S, self._signal_again, (number,)).start()

    def _signal_again(self, number: int) -> None:
        if not self._stopping:
            self._repeats = True
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _kill_late(self, number: int) -> None:
        """Kill if this process still runs after the time for a stop."""
        threading.Event().wait(self._stop_s)
        self._kill(number)

    def _kill(self, number: int) -> None:
        try:
            for forced in self._forced:
                self._call(forced)
        finally:
            os._exit(128 + number)

    @staticmethod
    def _call(forced: Callable[[], None]) -> None:
        """What fails is shown. It must keep neither the others from their turn nor this process from its end."""
        try:
            forced()
        except Exception:
            traceback.print_exc()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether an import is under way. One that is interrupted may keep its lock, for which other threads then wait."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
