"""A table that goes on on the next page is one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, Stroke, grid, make_pages

_XS = (60.0, 160.0, 360.0, 460.0)


def _cells(y: float, *texts: str) -> list[At]:
    return [At(x + 5, y, text) for x, text in zip(_XS, texts, strict=False) if text]


def _grid_of(rows: Sequence[Sequence[str]], top: float) -> list[At | Stroke]:
    """A table with borders whose first row begins at `top`, with rows of 20 points."""
    lines = grid(_XS, [top + 20 * number for number in range(len(rows) + 1)])
    return [*lines, *(cell for number, row in enumerate(rows) for cell in _cells(top + 14 + 20 * number, *row))]


HEADER = ("Broj", "Naziv", "Iznos")
FIRST = [HEADER, ("1.", "Papir", "10,00"), ("2.", "Toner", "20,00")]


@pytest.mark.parametrize("header", [[], [HEADER]], ids=["header once", "header again"])
def test_a_table_that_goes_on_on_the_next_page_is_one(
    font: Path, limits: Limits, header: list[tuple[str, ...]]
) -> None:
    pages = [[*_grid_of(FIRST, 700)], _grid_of([*header, ("3.", "Olovka", "1,00"), ("4.", "Kreda", "2,00")], 60)]
    document = parse_pdf(make_pages([[At(60, 650, "Popis nabave"), *pages[0]], pages[1]], font), limits)
    assert document.text == (
        "Popis nabave\n\n| Broj | Naziv | Iznos |\n| --- | --- | --- |\n| 1. | Papir | 10,00 |\n"
        "| 2. | Toner | 20,00 |\n| 3. | Olovka | 1,00 |\n| 4. | Kreda | 2,00 |"
    )
    assert [(page, document.text[offset:].lstrip(" |,\n0")[:2]) for offset, page in document.pages] == [
        (1, "Po"),
        (2, "3."),
    ]


def test_a_row_that_was_cut_at_the_end_of_a_page_is_whole(font: Path, limits: Limits) -> None:
    rest = [("", "u boji", ""), ("3.", "Olovka", "1,00"), ("4.", "Kreda", "2,00")]
    text = parse_pdf(make_pages([_grid_of(FIRST, 700), _grid_of(rest, 60)], font), limits).text
    assert "| 2. | Toner u boji | 20,00 |\n| 3. | Olovka | 1,00 |" in text


def test_tables_of_other_columns_or_with_text_between_them_stay_apart(font: Path, limits: Limits) -> None:
    second = [HEADER, ("3.", "Olovka", "1,00"), ("4.", "Kreda", "2,00")]
    between = [At(60, 50, "Drugi popis je zaseban i ima svoje zaglavlje."), *_grid_of(second, 80)]
    moved: list[At | Stroke] = [*grid([x + 40 for x in _XS], [60, 80, 100, 120])]
    moved += [At(x + 45, 74 + 20 * n, text) for n, row in enumerate(second) for x, text in zip(_XS, row, strict=False)]
    for page in (between, moved):
        text = parse_pdf(make_pages([_grid_of(FIRST, 700), page], font), limits).text
        assert text.count("| Broj | Naziv | Iznos |") == 2
    text = parse_pdf(
        make_pages([_grid_of(FIRST, 700), [At(60, 60, "Praznina")], _grid_of(second, 60)], font), limits
    ).text
    assert text.count("| Broj | Naziv | Iznos |") == 2


def test_a_row_with_figures_that_is_the_same_on_both_pages_stays(font: Path, limits: Limits) -> None:
    rows = [("Naknada", "Račun", "1,00"), ("Naknada", "Kartica", "2,00"), ("Pristojba", "Račun", "3,00")]
    text = parse_pdf(make_pages([_grid_of(rows, 700), _grid_of(rows, 60)], font), limits).text
    assert text.count("| Naknada | Račun | 1,00 |") == 2


def test_a_table_over_three_pages_is_one(font: Path, limits: Limits) -> None:
    pages = [
        _grid_of([HEADER, *((f"{n}.", f"Stavka {n}", "1,00") for n in range(3 * p, 3 * p + 3))], 60) for p in range(3)
    ]
    text = parse_pdf(make_pages(pages, font), limits).text
    assert text.count("| --- | --- | --- |") == 1
    assert [line.split(" | ")[1] for line in text.split("\n")[2:]] == [f"Stavka {n}" for n in range(9)]


def test_a_header_of_years_with_a_blank_corner_is_repeated_too(font: Path, limits: Limits) -> None:
    header = ("", "2023", "2024")
    pages = [
        _grid_of([header, *((f"Stavka {n}", f"1{n},00", f"2{n},00") for n in range(3 * p, 3 * p + 3))], top)
        for p, top in enumerate((700, 60))
    ]
    text = parse_pdf(make_pages(pages, font), limits).text
    assert text.count("2023") == 1
    assert "| Stavka 2 | 12,00 | 22,00 |\n| Stavka 3 | 13,00 | 23,00 |" in text


@pytest.mark.parametrize("header", [("Rashodi", "Opis", "Iznos"), ("", "Zagreb", "Split")])
def test_another_table_of_the_same_columns_stays_apart(font: Path, limits: Limits, header: tuple[str, ...]) -> None:
    first = [("Prihodi", "Zaprimljeno", "Iznos"), ("Najam", "1,00", "10,00"), ("Ukupno", "2,00", "20,00")]
    second = [header, ("Plaće", "3,00", "30,00"), ("Ukupno", "4,00", "40,00")]
    text = parse_pdf(make_pages([_grid_of(first, 700), _grid_of(second, 60)], font), limits).text
    assert text.count("| --- | --- | --- |") == 2
    assert "| Ukupno | 2,00 | 20,00 |\n" in text
