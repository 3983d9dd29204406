"""PDFs made with reportlab: frames of flowing text, tables of several styles, forms."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import font_roboto
from reportlab.lib import colors
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph, Spacer, Table

from benchmarks.pdfs.truth import Author, Truth

MARGIN = 56.0


@lru_cache(maxsize=1)
def _font() -> str:
    pdfmetrics.registerFont(TTFont("Roboto", font_roboto.Roboto))
    return "Roboto"


def _style(size: float, align: int = 0, after: float = 6) -> ParagraphStyle:
    return ParagraphStyle(
        "style", fontName=_font(), fontSize=size, leading=1.3 * size, alignment=align, spaceAfter=after
    )


def _document(story: Sequence[Callable[[], Any]], columns: int = 1, head: str = "") -> bytes:
    buffer = io.BytesIO()
    width, height = A4
    inner = (width - 2 * MARGIN + 18) / columns
    frames = [
        Frame(MARGIN + inner * number, MARGIN, inner - 18, height - 2 * MARGIN, 0, 0, 0, 0) for number in range(columns)
    ]

    def running(canvas: Any, document: Any) -> None:
        if head:
            canvas.setFont(_font(), 8)
            canvas.drawString(MARGIN, height - 36, head)
            canvas.drawCentredString(width / 2, 30, f"– {document.page} –")

    template = BaseDocTemplate(buffer, pagesize=A4)
    template.addPageTemplates([PageTemplate(frames=frames, onPage=running)])
    template.build([part() for part in story])
    return buffer.getvalue()


def prose(seed: int) -> Truth:
    """Sections in one column or in two, under a running head, with page numbers below."""
    author = Author(seed)
    columns = 1 + seed % 2
    truth = Truth("reportlab-columns" if columns > 1 else "reportlab-prose")
    head = "Program rada za 2026."
    truth.add(head)
    story: list[Callable[[], Any]] = []
    for number in range(7):
        heading, size = author.title(), 13.0 if number else 19.0
        truth.add_heading(heading)
        story.append(partial(Paragraph, heading, _style(size)))
        for _ in range(2):
            text = author.paragraph()
            truth.add(text)
            story.append(partial(Paragraph, text, _style(10, TA_JUSTIFY)))
    truth.data = _document(story, columns, head)
    return truth


def table(seed: int) -> Truth:
    """A table with a grid, with lines between rows, with shaded rows, or without any of these."""
    author = Author(seed)
    kind = ("grid", "lines", "shades", "bare", "header line")[seed % 5]
    truth = Truth(f"reportlab-table-{kind.replace(' ', '-')}")
    before, after = author.paragraph(), author.paragraph()
    rows = author.table(12)
    if kind in ("grid", "lines", "shades"):
        for row in rows[3::4]:
            row[1] = author.words(8, 12)
    truth.add(before)
    for row in rows:
        truth.add_row(row)
    truth.add(after)
    styles: dict[str, list[tuple[Any, ...]]] = {
        "grid": [("GRID", (0, 0), (-1, -1), 0.5, colors.grey)],
        "lines": [("LINEBELOW", (0, 0), (-1, -1), 0.5, colors.grey)],
        "shades": [("BACKGROUND", (0, n), (-1, n), colors.lightgrey) for n in range(0, len(rows), 2)],
        "bare": [],
        "header line": [("LINEBELOW", (0, 0), (-1, 0), 1, colors.black)],
    }
    styles[kind].append(("VALIGN", (0, 0), (-1, -1), "MIDDLE" if seed % 2 else "TOP"))

    def made() -> Any:
        cells = [[Paragraph(cell, _style(9, after=0)) for cell in row] for row in rows]
        return Table(cells, colWidths=(60, 190, 70, 90), style=styles[kind])

    story: list[Callable[[], Any]] = [
        partial(Paragraph, before, _style(10)),
        partial(Spacer, 1, 8),
        made,
        partial(Spacer, 1, 8),
        partial(Paragraph, after, _style(10)),
    ]
    truth.data = _document(story)
    return truth


def form(seed: int) -> Truth:
    """A form: labels, and the values of fields beside them."""
    author, truth = Author(seed), Truth("reportlab-form")
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    heading = author.title()
    canvas.setFont(_font(), 17)
    canvas.drawString(MARGIN, 770, heading)
    truth.add_heading(heading)
    canvas.setFont(_font(), 11)
    for number in range(9):
        label, value = f"{author.words(1, 2).capitalize()}:", author.plain_words(1, 3)
        y = 730 - 30 * number
        canvas.drawString(MARGIN, y, label)
        if number % 3 == 2:
            canvas.acroForm.choice(
                name=f"f{number}",
                x=250,
                y=y - 6,
                width=240,
                height=20,
                value=value,
                options=[value, "drugo"],
                fontSize=10,
            )
        else:
            canvas.acroForm.textfield(name=f"f{number}", x=250, y=y - 6, width=240, height=20, value=value, fontSize=10)
        truth.add_row([label, value])
    canvas.save()
    truth.data = buffer.getvalue()
    return truth


def contents(seed: int) -> Truth:
    """A table of contents with dots before its page numbers."""
    author, truth = Author(seed), Truth("reportlab-contents")
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4)
    canvas.setFont(_font(), 18)
    canvas.drawString(MARGIN, 770, "Sadržaj")
    truth.add_heading("Sadržaj")
    canvas.setFont(_font(), 10)
    right, dot = A4[0] - MARGIN, pdfmetrics.stringWidth(".", _font(), 10)
    for number in range(25):
        text, page = f"{number + 1}. {author.title()}", str(3 * number + 4)
        y = 735 - 16 * number
        start = MARGIN + pdfmetrics.stringWidth(f"{text} ", _font(), 10)
        end = right - pdfmetrics.stringWidth(f" {page}", _font(), 10)
        canvas.drawString(MARGIN, y, text)
        canvas.drawString(start, y, "." * int((end - start) / dot))
        canvas.drawRightString(right, y, page)
        truth.add_row([text, page])
    canvas.save()
    truth.data = buffer.getvalue()
    return truth


def mixed_sizes(seed: int) -> Truth:
    """Notices in large and small type, and totals in larger type that are no headings."""
    author, truth = Author(seed), Truth("reportlab-sizes")
    story: list[Callable[[], Any]] = []
    for number in range(4):
        for text, size in ((author.title(), 16.0), (author.paragraph(), 9.5), (author.paragraph(1, 2), 7.0)):
            (truth.add_heading if size > 10 else truth.add)(text)
            story.append(partial(Paragraph, text, _style(size)))
        total = ["Sveukupno", str(number), author.amount()]
        truth.add_row(total)
        story.append(partial(Paragraph, " ".join(total), _style(12)))
    truth.data = _document(story)
    return truth


KINDS: Sequence[Callable[[int], Truth]] = (prose, prose, table, table, form, contents, mixed_sizes)
