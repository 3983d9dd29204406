"""Boxes on a page. Lengths are in points; x grows in the direction of Latin text and y downwards, as text is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Half-way from top to bottom."""
        return (self.top + self.bottom) / 2

    @property
    def centre(self) -> float:
        """Half-way from left to right."""
        return (self.left + self.right) / 2

    def shares_line(self, other: Box) -> bool:
        """Whether half of the lower box's height is beside the other."""
        beside = min(self.bottom, other.bottom) - max(self.top, other.top)
        return beside > 0.5 * min(self.height, other.height)

    def holds(self, other: Box) -> bool:
        """Whether the other box's centre is inside."""
        return self.left <= other.centre <= self.right and self.top <= other.middle <= self.bottom


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box around all of them. Raises ValueError if there are none."""
    lefts, tops, rights, bottoms = zip(*((box.left, box.top, box.right, box.bottom) for box in boxes), strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def merged(intervals: Iterable[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """The intervals in order, those joined that are less than `gap` apart."""
    result: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if result and start - result[-1][1] < gap:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result
