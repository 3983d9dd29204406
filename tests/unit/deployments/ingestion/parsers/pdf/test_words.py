"""Letters become the words that a reader sees, however they are drawn."""

from __future__ import annotations

from pathlib import Path

from fpdf import FPDF

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, make_pages

SIZE = 11.0
ADVANCE = SIZE / 2
"""Each letter of the test's font is so wide, in points."""


def letter_by_letter(x: float, y: float, text: str) -> list[At]:
    """A text each of whose letters is drawn by itself, without its spaces."""
    return [At(x + ADVANCE * n, y, letter, SIZE) for n, letter in enumerate(text) if letter != " "]


def test_letters_drawn_one_by_one_in_narrow_columns_are_words(font: Path, limits: Limits) -> None:
    # Narrow columns and close rows: PDFium takes such a page for vertical text.
    rows = [("1.", "papir u boji", "10,00"), ("2.", "toner za pisač", "20,00"), ("3.", "kreda", "3,00")] * 12
    cells = (
        (x, 60 + 11 * number, text)
        for number, row in enumerate(rows)
        for x, text in zip((60, 200, 500), row, strict=True)
    )
    page = [letter for x, y, text in cells for letter in letter_by_letter(x, y, text)]
    text = parse_pdf(make_pages([page], font), limits).text
    assert text.count("| 1. | papir u boji | 10,00 |") == 12
    assert text.count("| 2. | toner za pisač | 20,00 |") == 12


def test_raised_numbers_stay_apart_from_the_words_that_they_follow(font: Path, limits: Limits) -> None:
    pdf = FPDF(unit="pt")
    pdf.add_font("Boxes", "", font)
    pdf.add_page()
    pdf.set_font("Boxes", size=SIZE)
    sentence = "Naknada za vodu|^1| iznosi 25 eura po m|^2| ili 10|^3| kuna.|^12| Rok je kratak. |^4|Vidi odluku."
    for part in sentence.split("|"):
        pdf.char_vpos = "SUP" if part.startswith("^") else "LINE"
        pdf.write(14, part.removeprefix("^"))
    assert parse_pdf(bytes(pdf.output()), limits).text == (
        "Naknada za vodu ¹ iznosi 25 eura po m2 ili 10³ kuna.¹² Rok je kratak. 4 Vidi odluku."
    )
