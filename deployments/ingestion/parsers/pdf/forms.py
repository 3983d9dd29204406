"""Reads what a page shows outside of its own text: values of form fields, and text boxes laid over it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.words import Style, Word, turned

_CHECKED, _UNCHECKED = "☒", "☐"
_HIDDEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_WITH_VALUE = (
    pdfium.FPDF_FORMFIELD_TEXTFIELD,
    pdfium.FPDF_FORMFIELD_COMBOBOX,
    pdfium.FPDF_FORMFIELD_LISTBOX,
)
_BOXES = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
_PASSWORD = 1 << 13
_SIZES = 6.0, 11.0
_LINE, _LETTER = 1.2, 0.5
"""A line's height and a letter's width, in sizes."""
_BASELINE = 0.3
_PADDING = 2.0


def read_fields(form: Any, page: Any, turn: int) -> Iterator[Word]:
    """The words of each field's value at its place, turned as `PageWords` has its words. `form` may be None."""
    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        try:
            text = _text(form, annotation)
            rectangle = pdfium.FS_RECTF()
            if text and pdfium.FPDFAnnot_GetRect(annotation, rectangle):
                yield from _words(text, rectangle, turn)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _text(form: Any, annotation: Any) -> str:
    """What an annotation shows."""
    if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
        return ""
    subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
    if subtype == pdfium.FPDF_ANNOT_FREETEXT:
        return _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")
    if subtype != pdfium.FPDF_ANNOT_WIDGET or form is None:
        return ""
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _BOXES:
        return _CHECKED if pdfium.FPDFAnnot_IsChecked(form, annotation) else _UNCHECKED
    if kind not in _WITH_VALUE or pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        return ""
    if kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
        return _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
    chosen = [
        _string(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, option)
        for option in range(pdfium.FPDFAnnot_GetOptionCount(form, annotation))
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, option)
    ]
    return "\n".join(chosen) or _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)


def _string(function: Any, *arguments: Any) -> str:
    """A string of PDFium's: in UTF-16, its length in bytes asked for first."""
    length = function(*arguments, None, 0)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    function(*arguments, buffer, length)
    return bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")


def _words(text: str, rectangle: Any, turn: int) -> Iterator[Word]:
    """The words of a field's value, from the top of its box down; a single line is in the middle."""
    box = turned(turn, rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
    lines = [line for line in text.splitlines() if line.strip()]
    size = min(max(box.height / max(len(lines), 1) / _LINE, _SIZES[0]), _SIZES[1])
    letters = max(map(len, lines), default=1)
    advance = min(_LETTER * size, box.width / letters)
    top = box.top + _PADDING if len(lines) > 1 else box.middle - _LINE * size / 2
    for number, line in enumerate(lines):
        baseline = top + (number + 1 - _BASELINE) * _LINE * size
        position = 0
        for word in line.split():
            position = line.index(word, position)
            start = box.left + position * advance
            position += len(word)
            yield Word.at(word, start, start + len(word) * advance, Style(turn, size, baseline))
