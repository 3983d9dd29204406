"""Walks the objects of a page, those inside forms too, with the matrix that puts each on the page."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator
from typing import Any

import pypdfium2.raw as pdfium

_DEPTH = 3
"""Forms inside forms are read so deep."""

Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
"""Left, bottom, right and top, in points of the page, y upwards."""
_UNCHANGED: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def page_objects(page: Any, kinds: Collection[int]) -> Iterator[tuple[Any, int, Matrix]]:
    """(object, kind, matrix) of the objects of these kinds, in drawing order. `matrix` is of the forms around each."""
    return _objects(page.raw, pdfium.FPDFPage_CountObjects, pdfium.FPDFPage_GetObject, kinds, _UNCHANGED, 1)


def _objects(
    parent: Any, count: Any, get: Any, kinds: Collection[int], around: Matrix, depth: int
) -> Iterator[tuple[Any, int, Matrix]]:
    for index in range(count(parent)):
        each = get(parent, index)
        kind = pdfium.FPDFPageObj_GetType(each)
        if kind in kinds:
            yield each, kind, around
        if kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEPTH:
            matrix = times(matrix_of(each), around)
            yield from _objects(
                each, pdfium.FPDFFormObj_CountObjects, pdfium.FPDFFormObj_GetObject, kinds, matrix, depth + 1
            )


def matrix_of(each: Any) -> Matrix:
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(each, matrix)
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def times(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    return *_applied(then, a, b), *_applied(then, c, d), *moved(then, (e, f))


def moved(matrix: Matrix, point: Point) -> Point:
    x, y = _applied(matrix, *point)
    return x + matrix[4], y + matrix[5]


def _applied(matrix: Matrix, x: float, y: float) -> Point:
    return x * matrix[0] + y * matrix[2], x * matrix[1] + y * matrix[3]


def bounds(each: Any, matrix: Matrix) -> Rectangle | None:
    """Where an object is on the page; None if that cannot be told."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not pdfium.FPDFPageObj_GetBounds(each, left, bottom, right, top):
        return None
    return around_points([moved(matrix, (x.value, y.value)) for x in (left, right) for y in (bottom, top)])


def around_points(points: Collection[Point]) -> Rectangle:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
