"""What a page is made of, in the order in which it is read: lines of columns, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.segments import Segment

_FULL = 0.75
"""A line of running text fills so much of its column."""
_WORDS = 3
_EMS = 8.0
_NEAREST = 8
"""Segments of a line that another is compared with: the nearest by height."""
_FIGURES = 0.3
"""Running text has at most this share of words with digits."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text. `column` is the box of the lines that it may continue, so it tells where lines end."""

    segment: Segment
    column: Box


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, top to bottom; each cell is its lines, as segments. All rows have the same number of cells."""

    page: int
    box: Box
    rows: tuple[tuple[tuple[Segment, ...], ...], ...]

    @property
    def right_to_left(self) -> bool:
        cells = [segment for row in self.rows for cell in row for segment in cell]
        return sum(segment.right_to_left for segment in cells) * 2 > len(cells)


Item = Segment | Table
Block = Sequence[Line] | Table
"""Lines of one column, top to bottom, or a table."""


def text_lines(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments by lines, top to bottom, each line from left to right."""
    lines: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda segment: segment.box.middle):
        if lines and any(segment.box.shares_line(other.box) for other in lines[-1][-_NEAREST:]):
            lines[-1].append(segment)
        else:
            lines.append([segment])
    for line in lines:
        line.sort(key=lambda segment: segment.box.left)
    return lines


def is_running_text(segments: Sequence[Segment]) -> bool:
    """Whether lines are as wide as their column and have more words than figures, as those of paragraphs."""
    lines = text_lines(segments)
    if len(lines) < 2:
        return False
    box = around(segment.box for segment in segments)
    size = median(segment.size for segment in segments)
    full = sum(around(segment.box for segment in line).width >= _FULL * box.width for line in lines)
    words = [word.text for segment in segments for word in segment.words]
    figures = sum(any(map(str.isdigit, word)) for word in words)
    return (
        len(words) >= _WORDS * len(lines)
        and figures <= _FIGURES * len(words)
        and box.width >= _EMS * size
        and full >= 0.5 * (len(lines) - 1)
    )
