"""Reads the straight lines that are drawn on a page: borders of tables, and edges of shaded cells."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.geometry import Box
from deployments.ingestion.parsers.pdf.objects import Matrix, Point, matrix_of, moved, page_objects, times
from deployments.ingestion.parsers.pdf.words import turned

_OBJECTS = 20_000
_SEGMENTS = 40_000
"""Pages with more are drawings. Their lines are not read."""
_SHORTEST = 4.0
_STRAIGHT = 0.6
_WHITE = 250


@dataclass(slots=True)
class Rules:
    """`across` are horizontal lines and `down` vertical ones, each as a box without height or width."""

    across: list[Box] = field(default_factory=list)
    down: list[Box] = field(default_factory=list)

    def add(self, box: Box) -> None:
        if box.height <= _STRAIGHT < _SHORTEST <= box.width:
            self.across.append(box)
        elif box.width <= _STRAIGHT < _SHORTEST <= box.height:
            self.down.append(box)


def read_rules(page: Any, turn: int) -> Rules:
    """The lines of a page, turned as `PageWords` has its words."""
    rules = Rules()
    count = 0
    for number, (path, _, matrix) in enumerate(page_objects(page, (pdfium.FPDF_PAGEOBJ_PATH,))):
        if number >= _OBJECTS:
            return Rules()
        if not _is_seen(path):
            continue
        for (x, y), (to_x, to_y) in _edges(path, times(matrix_of(path), matrix)):
            count += 1
            if count > _SEGMENTS:
                return Rules()
            rules.add(turned(turn, min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)))
    return rules


def _is_seen(path: Any) -> bool:
    """Whether a path has a stroke, or a filling that is not white."""
    filling, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(path, filling, stroke)
    if stroke.value or not filling.value:
        return bool(stroke.value)
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    pdfium.FPDFPageObj_GetFillColor(path, red, green, blue, alpha)
    return bool(alpha.value) and min(red.value, green.value, blue.value) < _WHITE


def _edges(path: Any, matrix: Matrix) -> Iterator[tuple[Point, Point]]:
    """The straight edges of a path, in points of the page. A filled one that is thin counts as a line along it."""
    x, y = ctypes.c_float(), ctypes.c_float()
    start = last = (0.0, 0.0)
    for index in range(pdfium.FPDFPath_CountSegments(path)):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = moved(matrix, (x.value, y.value))
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            yield last, point
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield point, start
        last = point


def joined(lines: list[tuple[float, float, float]], apart: float) -> list[tuple[float, float, float]]:
    """(place, start, end) of parallel lines, those made one that are less than `apart` from each other and meet."""
    result: list[tuple[float, float, float]] = []
    for group in _by_place(sorted(lines), apart):
        place = sum(line[0] for line in group) / len(group)
        start, end = None, 0.0
        for _, line_start, line_end in sorted(group, key=lambda line: line[1]):
            if start is not None and line_start <= end + apart:
                end = max(end, line_end)
                continue
            if start is not None:
                result.append((place, start, end))
            start, end = line_start, line_end
        if start is not None:
            result.append((place, start, end))
    return result


def _by_place(lines: list[tuple[float, float, float]], apart: float) -> Iterator[list[tuple[float, float, float]]]:
    if not lines:
        return
    group = [lines[0]]
    for before, line in pairwise(lines):
        if line[0] - before[0] > apart:
            yield group
            group = []
        group.append(line)
    yield group
