"""How long a replica's latest answers took."""

from __future__ import annotations

import statistics
from collections import deque

_WINDOW = 64
_MIN_SAMPLES = 8
_PREPARING_MARGIN = 0.1
"""Covers the delay between the end of an answer in the engine and the replica's notice of it."""


class AnswerLatency:
    """Statistics over the last 64 answers. Times are 0 until there are 8 of them."""

    def __init__(self) -> None:
        self._total_s: deque[float] = deque(maxlen=_WINDOW)
        self._preparing_s: deque[float] = deque(maxlen=_WINDOW)

    def record(self, preparing_s: float, total_s: float) -> None:
        """An answer took `total_s`, of which `preparing_s` passed before generation."""
        self._preparing_s.append(preparing_s)
        self._total_s.append(total_s)

    @property
    def median_s(self) -> float:
        return statistics.median(self._total_s) if self._known else 0.0

    @property
    def p90_s(self) -> float:
        return statistics.quantiles(self._total_s, n=10, method="inclusive")[-1] if self._known else 0.0

    @property
    def preparing_ratio(self) -> float:
        """How many answers are being prepared for each one that is being generated."""
        if not self._known:
            return _PREPARING_MARGIN
        preparing_s, total_s = statistics.median(self._preparing_s), statistics.median(self._total_s)
        return _PREPARING_MARGIN + (preparing_s / (total_s - preparing_s) if total_s > preparing_s else 0.0)

    @property
    def _known(self) -> bool:
        return len(self._total_s) >= _MIN_SAMPLES
