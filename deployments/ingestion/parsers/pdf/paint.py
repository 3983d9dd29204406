"""Tells the words that a reader sees from those that are hidden: in the colour of what they stand on, without ink, too
small to be seen, or cut off. Words that run over the edge of the page count as seen: their writer meant to show them.
Those outside of what a page was cropped to do not."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.geometry import Box
from deployments.ingestion.parsers.pdf.objects import (
    Matrix,
    Point,
    Rectangle,
    around_points,
    bounds,
    matrix_of,
    moved,
    page_objects,
    times,
)
from deployments.ingestion.parsers.pdf.words import Colour, Word, turned

_FILLS = 5_000
"""Pages with more areas are drawings. All their words count as seen."""
_THINNEST = 3.0
"""A thinner area, in points, is a line."""
_SMALLEST = 1.0
"""The smallest type that can be seen, in points."""
_ALIKE = 6
"""Colours that differ by no more than this, of 255, look the same."""
_PAPER: Colour = (255, 255, 255)
_KINDS = (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING)


@dataclass(frozen=True, slots=True)
class Fill:
    """An area that is filled. `colour` is None for a picture, and for what is not one colour in one rectangle."""

    place: Rectangle
    colour: Colour | None
    picture: bool = False


def seen_words(page: Any, by_turn: Mapping[int, Sequence[Word]]) -> tuple[dict[int, list[Word]], int]:
    """The words that a reader sees, and how many of them are hidden."""
    fills = [*_fills(page)]
    cropped_to = page.get_bbox() if page.get_cropbox() != page.get_mediabox() else None
    if len(fills) > _FILLS:
        fills = [Fill(page.get_bbox(), None, picture=True)]
    colours = {word.colour for words in by_turn.values() for word in words}
    kept: dict[int, list[Word]] = {}
    hidden = 0
    for turn, words in by_turn.items():
        places = [(turned(turn, *fill.place), fill) for fill in fills]
        grounds = [_PAPER, *(fill.colour for fill in fills if fill.colour is not None)]
        alike = {colour for colour in colours if colour is None or any(_same(colour, ground) for ground in grounds)}
        inside = turned(turn, *cropped_to) if cropped_to else None
        seen = [
            word
            for word in words
            if (inside is None or inside.holds(word.box)) and _is_seen(word, places if word.colour in alike else ())
        ]
        hidden += len(words) - len(seen)
        if seen:
            kept[turn] = seen
    return kept, hidden


def _is_seen(word: Word, fills: Sequence[tuple[Box, Fill]]) -> bool:
    if word.size < _SMALLEST:
        return False
    under = [fill for place, fill in fills if place.holds(word.box)]
    if word.colour is None:  # the text of a scanned page stands over its picture, without ink
        return any(fill.picture for fill in under)
    ground = under[-1].colour if under else _PAPER
    return ground is None or not _same(word.colour, ground)


def _same(colour: Colour, other: Colour) -> bool:
    return all(abs(one - another) <= _ALIKE for one, another in zip(colour, other, strict=True))


def _fills(page: Any) -> Iterator[Fill]:
    """In drawing order."""
    for each, kind, matrix in page_objects(page, _KINDS):
        if kind == pdfium.FPDF_PAGEOBJ_PATH and not _is_filled(each):
            continue
        place = bounds(each, matrix)
        if place is None or min(place[2] - place[0], place[3] - place[1]) < _THINNEST:
            continue
        if kind != pdfium.FPDF_PAGEOBJ_PATH:
            yield Fill(place, None, picture=kind == pdfium.FPDF_PAGEOBJ_IMAGE)
            continue
        clipped, is_whole = _clipped(each, matrix, place)
        if clipped is not None:
            yield Fill(clipped, _colour(each) if is_whole and _is_rectangle(each, matrix) else None)


def _is_filled(path: Any) -> bool:
    filling, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(path, filling, stroke)
    return bool(filling.value)


def _colour(path: Any) -> Colour | None:
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    known = pdfium.FPDFPageObj_GetFillColor(path, red, green, blue, alpha)
    return (red.value, green.value, blue.value) if known and alpha.value == 255 else None


def _is_rectangle(path: Any, around: Matrix) -> bool:
    count, get = pdfium.FPDFPath_CountSegments(path), pdfium.FPDFPath_GetPathSegment
    return _are_corners(_points(path, count, get, times(matrix_of(path), around)))


def _are_corners(points: Sequence[Point]) -> bool:
    """Whether points are the corners of one upright rectangle."""
    if len(points) not in (4, 5):
        return False
    left, bottom, right, top = around_points(points)
    corners = {(min(x - left, right - x) < 0.1, min(y - bottom, top - y) < 0.1) for x, y in points}
    return corners == {(True, True)}


def _points(path: Any, count: int, get: Any, matrix: Matrix, *of: int) -> list[Point]:
    """The ends of a path's segments on the page; none if it has too many to be a rectangle, or a curve."""
    if count > 5:
        return []
    x, y = ctypes.c_float(), ctypes.c_float()
    points: list[Point] = []
    for index in range(count):
        segment = get(path, *of, index)
        if pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_BEZIERTO:
            return []
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        points.append(moved(matrix, (x.value, y.value)))
    return points


def _clipped(path: Any, around: Matrix, place: Rectangle) -> tuple[Rectangle | None, bool]:
    """The part of a path's place that its clip leaves, None for nothing; and whether the clip is made of rectangles."""
    clip = pdfium.FPDFPageObj_GetClipPath(path)
    left, bottom, right, top = place
    is_whole = True
    for number in range(max(pdfium.FPDFClipPath_CountPaths(clip), 0)):
        count = pdfium.FPDFClipPath_CountPathSegments(clip, number)
        points = _points(clip, count, pdfium.FPDFClipPath_GetPathSegment, around, number)
        if not _are_corners(points):
            is_whole = False
            continue
        inner = around_points(points)
        left, bottom = max(left, inner[0]), max(bottom, inner[1])
        right, top = min(right, inner[2]), min(top, inner[3])
    is_seen = right > left and top > bottom
    return (left, bottom, right, top) if is_seen else None, is_whole
