"""Bold lines of the text's own size are headings where a document has them above its text, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, column, make_pages

FIRST = [
    "Dvoranu smiju koristiti udruge s područja grada koje su prijavu predale",
    "do petnaestog u mjesecu i koje su podmirile naknadu za prošlo razdoblje.",
]
SECOND = [
    "Ključ se vraća isti dan domaru, koji o tome vodi popis i obavještava ured",
    "nadležan za imovinu grada o svakom kašnjenju i o svakoj nastaloj šteti.",
]


def text_of(lines: Sequence[str], font: Path, limits: Limits, *more: At) -> str:
    return parse_pdf(make_pages([[*column(60, 100, lines), *more]], font), limits).text


def headings(lines: Sequence[str], font: Path, limits: Limits) -> list[str]:
    return [line for line in text_of(lines, font, limits).split("\n") if line.startswith("#")]


def test_bold_lines_above_paragraphs_are_headings(font: Path, limits: Limits) -> None:
    lines = ["**Korištenje dvorane**", *FIRST, "**Predaja ključa**", *SECOND]
    assert text_of(lines, font, limits) == "\n\n".join(
        ("# Korištenje dvorane", " ".join(FIRST), "# Predaja ključa", " ".join(SECOND))
    )


def test_they_are_below_headings_in_larger_type(font: Path, limits: Limits) -> None:
    lines = ["**Korištenje dvorane**", *FIRST, "**Predaja ključa**", *SECOND]
    text = text_of(lines, font, limits, At(60, 60, "Pravilnik", 20))
    assert [line for line in text.split("\n") if line.startswith("#")] == [
        "# Pravilnik",
        "## Korištenje dvorane",
        "## Predaja ključa",
    ]


def test_one_bold_heading_may_stand_above_another(font: Path, limits: Limits) -> None:
    lines = ["**Drugi dio**", "**Korištenje dvorane**", *FIRST, "**Predaja ključa**", *SECOND]
    assert headings(lines, font, limits) == ["# Drugi dio", "# Korištenje dvorane", "# Predaja ključa"]


@pytest.mark.parametrize(
    "lines",
    [
        ["**Korištenje dvorane**", *FIRST, *SECOND],
        ["**Ime i prezime**", "Ana Šarić", "**Mjesto rođenja**", "Grad Pula", *FIRST, *SECOND],
        ["**Naknada 10**", *FIRST, "**Kazna 20 %**", *SECOND],
        ["**Napomena:**", *FIRST, "**Upozorenje:**", *SECOND],
        ["**Ključ se vraća.**", *FIRST, "**Dvorana se zaključava.**", *SECOND],
        ["**nastavak malim slovom**", *FIRST, "**opet malim slovom**", *SECOND],
        ["**Ukupno 1.200,00 EUR**", *FIRST, "**Sveukupno 1.500,00 EUR**", *SECOND],
        ["**Stavka Iznos**", "Najam 10,00", "**Stavka Iznos**", "Kazna 20,00", *FIRST, *SECOND],
        [f"**{FIRST[0]}**", f"**{FIRST[1]}**", "**Predaja ključa**", *SECOND, "**Popis stvari**", *SECOND],
        ["**Grad Pula**", "**Ured za imovinu**", "**Klasa nije dodijeljena**", "Pula, rujan", "**Predaja**", *FIRST],
    ],
    ids=[
        "only one",
        "labels of a form",
        "figures",
        "colons",
        "sentences",
        "small letters",
        "totals",
        "heads of rows",
        "mostly bold",
        "letterhead",
    ],
)
def test_other_bold_lines_are_no_headings(font: Path, limits: Limits, lines: Sequence[str]) -> None:
    assert headings(lines, font, limits) == []


def test_bold_words_in_running_text_are_no_heading(font: Path, limits: Limits) -> None:
    page = [At(60, 100, "Dvoranu smiju koristiti", 11), At(187, 100, "Udruge s područja grada", 11, bold=True)]
    page += column(60, 114, [*FIRST, *SECOND])
    assert "#" not in parse_pdf(make_pages([page], font), limits).text


def test_bold_cells_of_a_table_are_no_headings(font: Path, limits: Limits) -> None:
    header = [At(60, 100, "Naziv usluge", bold=True), At(250, 100, "Rok vraćanja", bold=True)]
    rows = [At(60, 114, "Najam"), At(250, 114, "isti dan"), At(60, 128, "Posudba"), At(250, 128, "mjesec dana")]
    page = [*header, *rows, *column(60, 180, ["**Predaja ključa**", *FIRST, "**Kazne**", *SECOND])]
    text = parse_pdf(make_pages([page], font), limits).text
    assert text.startswith("| Naziv usluge | Rok vraćanja |\n| --- | --- |\n")
    assert "# Predaja ključa" in text


def test_a_bold_line_is_apart_from_the_text_at_the_same_distance(font: Path, limits: Limits) -> None:
    bold = f"**{FIRST[0][:-3]}**"  # as long as the lines of text
    text = text_of([bold, *SECOND, *FIRST], font, limits)
    assert text.startswith(f"{bold.strip('*')}\n\n")
