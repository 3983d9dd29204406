"""The order in which a slide's shapes are read: from top to bottom, and from left to right where some stand abreast.

PowerPoint keeps them in the order in which they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

_OVERLAP = 0.1
"""Shapes that overlap by this share of the smaller one still stand apart."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A shape's texts, and where it is on the slide, or in its group."""

    texts: Sequence[str]
    left: int
    top: int
    width: int
    height: int

    @property
    def down(self) -> tuple[int, int]:
        return self.top, self.top + self.height

    @property
    def across(self) -> tuple[int, int]:
        return self.left, self.left + self.width


def in_reading_order(shapes: Sequence[Placed]) -> list[Placed]:
    """Cut between shapes, across the slide first and then down, as long as a straight cut is possible."""
    for span in (lambda shape: shape.down, lambda shape: shape.across):
        parts = [*_apart(shapes, span)]
        if len(parts) > 1:
            return [*chain.from_iterable(map(in_reading_order, parts))]
    return sorted(shapes, key=lambda shape: (shape.top, shape.left))


def _apart(shapes: Sequence[Placed], span: Callable[[Placed], tuple[int, int]]) -> Iterator[list[Placed]]:
    """The groups of shapes between which a line can be drawn."""
    group: list[Placed] = []
    end = last_length = 0
    for shape in sorted(shapes, key=span):
        start, its_end = span(shape)
        length = its_end - start
        if group and start >= end - _OVERLAP * min(length, last_length):
            yield group
            group, end = [], 0
        if its_end >= end:
            end, last_length = its_end, length
        group.append(shape)
    if group:
        yield group
