"""Seconds that pass only when a test says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Seconds:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now
