"""PDF pages with text and lines at chosen places, as no writer of flowing text would lay them out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
from fpdf import FPDF

from tests.support.documents import write_font

PITCH = 14.0
"""From one line of `column` to the next, in points."""


@dataclass(frozen=True, slots=True)
class At:
    """A text whose baseline begins at (x, y), in points from the upper left corner of the page."""

    x: float
    y: float
    text: str
    size: float = 11.0
    angle: float = 0.0
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Stroke:
    """A straight line."""

    x: float
    y: float
    to_x: float
    to_y: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, its upper left corner at (x, y)."""

    x: float
    y: float
    width: float
    height: float
    png: bytes


def column(x: float, y: float, lines: Iterable[str], size: float = 11.0, pitch: float = PITCH) -> list[At]:
    """Lines below each other, the first at (x, y). One of `**…**` is bold."""
    return [
        At(x, y + number * pitch, line.strip("*"), size, bold=line.startswith("**"))
        for number, line in enumerate(lines)
    ]


def row(y: float, *cells: tuple[float, str], size: float = 11.0) -> list[At]:
    """Texts beside each other, each as (x, text)."""
    return [At(x, y, text, size) for x, text in cells]


def grid(xs: Sequence[float], ys: Sequence[float]) -> list[Stroke]:
    """The borders of a table's cells."""
    across = [Stroke(xs[0], y, xs[-1], y) for y in ys]
    return [*across, *(Stroke(x, ys[0], x, ys[-1]) for x in xs)]


def make_pages(pages: Iterable[Iterable[At | Stroke | Picture]], font: Path) -> bytes:
    """A PDF of A4 pages, drawn in the order given. The bold font is made beside the other."""
    pdf = FPDF(unit="pt")
    pdf.set_auto_page_break(False)
    pdf.add_font("Boxes", "", font)
    pdf.add_font("Boxes", "B", write_font(font.with_name("bold.ttf"), "Bold"))
    for page in pages:
        pdf.add_page()
        for item in page:
            if isinstance(item, Stroke):
                pdf.line(item.x, item.y, item.to_x, item.to_y)
                continue
            if isinstance(item, Picture):
                pdf.image(io.BytesIO(item.png), item.x, item.y, item.width, item.height)
                continue
            pdf.set_font("Boxes", "B" if item.bold else "", item.size)
            with pdf.rotation(item.angle, item.x, item.y):
                pdf.text(item.x, item.y, item.text)
    return bytes(pdf.output())


def turned(data: bytes, degrees: int) -> bytes:
    """The PDF with its pages rotated, as scanners and slides have them."""
    buffer = io.BytesIO()
    with pdfium.PdfDocument(data) as document:
        for page in document:
            page.set_rotation(degrees)
        document.save(buffer)
    return buffer.getvalue()
