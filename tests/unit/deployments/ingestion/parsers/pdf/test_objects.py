"""What is drawn within a form, which a page puts somewhere else, is where a reader sees it."""

from __future__ import annotations

import io
from collections.abc import Callable

from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.documents import make_picture


def page(draw_form: Callable[[Canvas], None], x: float, y: float, scale: float) -> bytes:
    """A page with a form that is drawn at (x, y)."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(600, 800))
    canvas.beginForm("form")
    draw_form(canvas)
    canvas.endForm()
    canvas.drawString(60, 750, "Text above it.")
    canvas.translate(x, y)
    canvas.scale(scale, scale)
    canvas.doForm("form")
    canvas.save()
    return buffer.getvalue()


def table(canvas: Canvas) -> None:
    for place in (0, 60, 120, 180):
        canvas.line(0, place, 400, place)
    for place in (0, 200, 400):
        canvas.line(place, 0, place, 180)
    for number, top in enumerate((180, 120, 60)):
        for line, below in enumerate((20, 36)):
            canvas.drawString(5, top - below, f"left {number}{line}")
        for line, below in enumerate((20, 36, 52)):
            canvas.drawString(205, top - below, f"right {number}{line}")


def test_borders_of_a_table_are_where_the_form_is(limits: Limits) -> None:
    rows = [f"| left {n}0 left {n}1 | right {n}0 right {n}1 right {n}2 |" for n in range(3)]
    for x, y, scale in ((60, 350, 1.0), (100, 300, 0.8)):
        text = parse_pdf(page(table, x, y, scale), limits).text
        assert text.endswith("\n".join([rows[0], "| --- | --- |", *rows[1:]]))


def test_a_picture_is_where_the_form_is(limits: Limits) -> None:
    def picture(canvas: Canvas) -> None:
        canvas.drawImage(ImageReader(io.BytesIO(make_picture(10, 10))), 0, 0, 10, 10)

    beside = parse_pdf(page(picture, 60, 100, 20.0), limits)
    assert warnings(beside.left_out) == ("1 picture without text",)
    under = parse_pdf(page(picture, 60, 650, 20.0), limits)
    assert warnings(under.left_out) == ()
