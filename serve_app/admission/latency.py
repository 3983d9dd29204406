"""How long a replica's answers take, by the last ones."""

from __future__ import annotations

import statistics
from collections import deque

_REMEMBERED = 64
_ENOUGH = 8
"""Fewer tell nothing."""
_AHEAD = 0.1
"""For what is not seen from here: between an answer's end in the engine and the news of it, another is begun."""


class Pace:
    """Seconds are 0 while too little is known."""

    def __init__(self) -> None:
        self._whole: deque[float] = deque(maxlen=_REMEMBERED)
        self._before: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, before_s: float, whole_s: float) -> None:
        """An answer that took so long, and so much of it before it was generated."""
        self._before.append(before_s)
        self._whole.append(whole_s)

    @property
    def usual_s(self) -> float:
        return statistics.median(self._whole) if len(self._whole) >= _ENOUGH else 0.0

    @property
    def long_s(self) -> float:
        """Nine of ten take no longer."""
        return statistics.quantiles(self._whole, n=10, method="inclusive")[-1] if len(self._whole) >= _ENOUGH else 0.0

    @property
    def ahead(self) -> float:
        """How many answers are under way for each that is generated, beyond that one."""
        if len(self._whole) < _ENOUGH:
            return _AHEAD
        before, whole = statistics.median(self._before), statistics.median(self._whole)
        return _AHEAD + (before / (whole - before) if whole > before else 0.0)
