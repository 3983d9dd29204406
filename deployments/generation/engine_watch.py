"""Tells an engine that hangs from one that works or has nothing to do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from deployments.errors import StageUnavailable
from deployments.tasks import spawn_detached

ASK_AFTER_S = 5.0
"""An engine that reported nothing for so long is asked. One without requests reports nothing."""
logger = logging.getLogger(__name__)


class EngineWatch:
    """`ask` calls the engine's own loop: the call returns once the engine takes it up between two steps.

    An engine hangs if it neither reports a step nor returns from such a call for `hung_s` seconds. Requests alone would
    not show it: they are taken back from an engine that hangs as their time runs out.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[object]], hung_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._hung_s = hung_s
        self._clock = clock
        self._heard_at = clock()
        self._asked_at: float | None = None
        self._asking: asyncio.Task[None] | None = None

    @property
    def is_hung(self) -> bool:
        return self._asked_at is not None and self._clock() - self._asked_at > self._hung_s

    def heard(self) -> None:
        """The engine has finished a step, or has answered."""
        self._heard_at, self._asked_at = self._clock(), None

    def check(self) -> None:
        """Ask the engine if it was silent. Raises StageUnavailable if it hangs. To be called every few seconds."""
        if self.is_hung:
            raise StageUnavailable(
                f"generation: the engine has not moved on for {self._hung_s:g} s (generation.hung_s); "
                "its replica is being replaced"
            )
        if self._asking is None and self._clock() - self._heard_at > ASK_AFTER_S:
            self._asked_at = self._clock()
            self._asking = spawn_detached(self._wait_for_answer())

    async def _wait_for_answer(self) -> None:
        try:
            await self._ask()
        except Exception:  # an engine that is dead says so itself, and its health check fails
            logger.warning("the engine failed on a call", exc_info=True)
        finally:
            self._asking = None
        self.heard()

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
