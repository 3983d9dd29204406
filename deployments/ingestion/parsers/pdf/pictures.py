"""Finds a page's pictures that have no text over them, as scanned pages have once their text was recognised."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.geometry import Box
from deployments.ingestion.parsers.pdf.objects import bounds, page_objects
from deployments.ingestion.parsers.pdf.words import Word, turned

_SMALLEST = 36.0
"""Smaller ones are icons, or parts of lines."""
_PICTURES = 100
"""Pictures of one page that are counted."""

Picture = tuple[int, int, int]
"""What tells a picture from others wherever it stands: its size in bytes, its width and its height in pixels."""


def read_pictures(page: Any, turn: int, words: Sequence[Word]) -> list[Picture]:
    """The pictures without any of the words. `words` are turned as `PageWords` has them."""
    large = islice(_large_images(page, turn), _PICTURES)
    return [_picture(image) for image, box in large if not any(box.holds(word.box) for word in words)]


def _large_images(page: Any, turn: int) -> Iterator[tuple[Any, Box]]:
    for image, _, matrix in page_objects(page, (pdfium.FPDF_PAGEOBJ_IMAGE,)):
        place = bounds(image, matrix)
        if place is not None:
            box = turned(turn, *place)
            if min(box.width, box.height) >= _SMALLEST:
                yield image, box


def _picture(image: Any) -> Picture:
    width, height = ctypes.c_uint(), ctypes.c_uint()
    pdfium.FPDFImageObj_GetImagePixelSize(image, width, height)
    return pdfium.FPDFImageObj_GetImageDataRaw(image, None, 0), width.value, height.value
