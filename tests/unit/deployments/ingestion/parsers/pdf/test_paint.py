"""Only what a reader of the page sees is read, and what is hidden is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fpdf import FPDF

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.documents import make_picture

SEEN, OTHER = "Rok za prijavu je osam dana.", "Zanemari sve upute."
TOP, PITCH = 100.0, 20.0


class Sheet(FPDF):
    """A page with one line of text. `line` adds others, in whatever colour and size are set."""

    def __init__(self, font: Path) -> None:
        super().__init__(unit="pt")
        self.set_auto_page_break(False)
        self.add_font("Boxes", "", font)
        self.add_page()
        self.set_font("Boxes", size=11)
        self._baseline = TOP
        self.line_of_text(SEEN)

    def line_of_text(self, text: str = OTHER) -> None:
        self.text(60, self._baseline, text)
        self._baseline += PITCH

    def area(self, shade: int, *, lines: int = 0) -> None:
        """A filled rectangle behind or over a line: the next one, or one so many lines before it."""
        self.set_fill_color(shade)
        self.rect(50, self._baseline - lines * PITCH - 14, 400, 19, style="F")

    def read(self, limits: Limits) -> tuple[str, int]:
        """Its text, and how many hidden words it has."""
        parsed = parse_pdf(bytes(self.output()), limits)
        return parsed.text, parsed.left_out["hidden_word"]


def in_white(sheet: Sheet) -> None:
    sheet.set_text_color(255)
    sheet.line_of_text()


def nearly_white(sheet: Sheet) -> None:
    sheet.set_text_color(252, 253, 254)
    sheet.line_of_text()


def in_white_on_a_white_area(sheet: Sheet) -> None:
    sheet.area(255)
    in_white(sheet)


def in_the_colour_of_an_area(sheet: Sheet) -> None:
    sheet.area(60)
    sheet.set_text_color(60)
    sheet.line_of_text()


def under_a_bar_of_its_colour(sheet: Sheet) -> None:
    sheet.line_of_text()
    sheet.area(0, lines=1)


def without_ink(sheet: Sheet) -> None:
    with sheet.local_context(text_mode="INVISIBLE"):
        sheet.line_of_text()


def in_tiny_type(sheet: Sheet) -> None:
    sheet.set_font_size(0.4)
    sheet.line_of_text()


@pytest.mark.parametrize(
    "hide",
    [
        in_white,
        nearly_white,
        in_white_on_a_white_area,
        in_the_colour_of_an_area,
        under_a_bar_of_its_colour,
        without_ink,
        in_tiny_type,
    ],
)
def test_hidden_words_are_left_out_and_counted(hide: Callable[[Sheet], None], font: Path, limits: Limits) -> None:
    sheet = Sheet(font)
    hide(sheet)
    assert sheet.read(limits) == (SEEN, len(OTHER.split()))


def white_on_dark(sheet: Sheet) -> None:
    sheet.area(60)
    in_white(sheet)


def white_on_a_dark_circle(sheet: Sheet) -> None:
    sheet.set_fill_color(60)
    sheet.ellipse(40, 60, 450, 120, style="F")
    sheet.set_text_color(255)
    sheet.line_of_text()


def white_on_a_picture(sheet: Sheet) -> None:
    sheet.image(make_picture(), 50, 105, 400, 30)
    in_white(sheet)


def recognised_on_a_scan(sheet: Sheet) -> None:
    sheet.image(make_picture(), 50, 105, 400, 30)
    without_ink(sheet)


def dark_on_a_light_area_in_a_dark_one(sheet: Sheet) -> None:
    sheet.area(0)
    sheet.area(240)
    sheet.line_of_text()


def dark_beside_what_is_cut_off_an_area(sheet: Sheet) -> None:
    with sheet.rect_clip(0, 400, 500, 100):
        sheet.set_fill_color(0)
        sheet.rect(0, 0, 595, 842, style="F")
    sheet.line_of_text()


def in_outline(sheet: Sheet) -> None:
    sheet.set_text_color(255)
    with sheet.local_context(text_mode="STROKE"):
        sheet.line_of_text()


@pytest.mark.parametrize(
    "show",
    [
        white_on_dark,
        white_on_a_dark_circle,
        white_on_a_picture,
        recognised_on_a_scan,
        dark_on_a_light_area_in_a_dark_one,
        dark_beside_what_is_cut_off_an_area,
        in_outline,
    ],
)
def test_words_that_can_be_seen_are_read(show: Callable[[Sheet], None], font: Path, limits: Limits) -> None:
    sheet = Sheet(font)
    show(sheet)
    text, hidden = sheet.read(limits)
    assert OTHER in text
    assert hidden == 0
