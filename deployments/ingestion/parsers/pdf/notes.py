"""Counts what readers put on a page: comments, which are about the text and no part of it, and stamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

_HIDDEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_COMMENTED = (
    pdfium.FPDF_ANNOT_TEXT,
    pdfium.FPDF_ANNOT_LINE,
    pdfium.FPDF_ANNOT_SQUARE,
    pdfium.FPDF_ANNOT_CIRCLE,
    pdfium.FPDF_ANNOT_POLYGON,
    pdfium.FPDF_ANNOT_POLYLINE,
    pdfium.FPDF_ANNOT_HIGHLIGHT,
    pdfium.FPDF_ANNOT_UNDERLINE,
    pdfium.FPDF_ANNOT_SQUIGGLY,
    pdfium.FPDF_ANNOT_STRIKEOUT,
    pdfium.FPDF_ANNOT_CARET,
    pdfium.FPDF_ANNOT_INK,
)
_EMPTY_BYTES = 2
"""Length of an empty string of PDFium's: its end, in UTF-16."""


@dataclass(frozen=True, slots=True)
class Notes:
    """How many comments with a text a page has, and how many stamps."""

    comments: int = 0
    stamps: int = 0


def count_notes(page: Any) -> Notes:
    comments = stamps = 0
    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        if not pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            comments += kind in _COMMENTED and _has_text(annotation)
            stamps += kind == pdfium.FPDF_ANNOT_STAMP
        pdfium.FPDFPage_CloseAnnot(annotation)
    return Notes(comments, stamps)


def _has_text(annotation: Any) -> bool:
    length: int = pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
    return length > _EMPTY_BYTES
