"""Running heads and feet are left out, and lines that only look like them are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, column, make_pages, row

Case = Callable[[str], bytes]
WORDS = ["naknada", "grad", "vijeće", "odluka", "rok", "potpora", "škola", "cesta", "ured", "prijava"]


def prose(start: int, lines: int) -> list[str]:
    """Lines of one paragraph, as wide as their column, none of which ends a sentence."""
    return [" ".join(WORDS[(start + 3 * line + k) % len(WORDS)] for k in range(9)) for line in range(lines)]


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def test_rows_that_differ_only_in_digits_are_kept(case: Case, limits: Limits) -> None:
    readings = lines_of(parse_pdf(case("pdf-readings.pdf"), limits).text)
    assert readings == [f"Brojilo {7001 + n}: {137 * (n + 1)} kWh" for n in range(18)]
    statement = lines_of(parse_pdf(case("pdf-statement.pdf"), limits).text)
    assert len(statement) == 160
    assert statement[0] == "02.02.2026. HR12346 Naknada za uslugu 3,01 EUR"


def test_rows_of_two_pages_are_kept_below_a_head(font: Path, limits: Limits) -> None:
    pages = [
        [At(60, 40, "Očitanja 2026", 9), *column(60, 80, [f"Stan {10 * p + n}: {7 * n} m3" for n in range(9)])]
        for p in range(1, 3)
    ]
    found = lines_of(parse_pdf(make_pages(pages, font), limits).text)
    assert found == ["Očitanja 2026", *(f"Stan {10 * p + n}: {7 * n} m3" for p in range(1, 3) for n in range(9))]


def test_numbers_and_totals_of_invoices_are_kept(case: Case, limits: Limits) -> None:
    invoices = parse_pdf(case("pdf-invoices.pdf"), limits).text
    for page in range(1, 4):
        assert f"Racun broj {100 + page}" in invoices
        assert f"Datum: {page}. svibnja 2025." in invoices
        assert f"Ukupno: {1000 + 10 * page},00 EUR" in invoices
    receipts = lines_of(parse_pdf(case("pdf-receipts.pdf"), limits).text)
    assert receipts == [
        f"{t} {n}{e}" for n in range(1, 4) for t, n, e in (("Potvrda broj", n, ""), ("Uplaceno je", 5 * n, ",00 EUR."))
    ]


def test_titles_that_count_are_kept(font: Path, limits: Limits) -> None:
    pages = [[At(60, 50, f"Rješenje {page}", 14), *column(60, 110, prose(page, 3))] for page in range(1, 5)]
    text = parse_pdf(make_pages(pages, font), limits).text
    assert all(f"Rješenje {page}" in text for page in range(1, 5))


def test_a_foot_of_two_pages_does_not_cut_a_sentence(case: Case, limits: Limits) -> None:
    text = parse_pdf(case("pdf-foot.pdf"), limits).text
    assert "Dijete koje nije upisano u evidenciju ustanove ne dobiva potporu dok roditelj ne donese potvrdu." in text
    assert text.count("Povjerljivo") == 1  # nothing is lost: the last foot stays
    assert "Stranica" not in text


def test_heads_of_left_and_right_pages_do_not_cut_a_sentence(font: Path, limits: Limits) -> None:
    pages = []
    for number in range(1, 7):
        head = row(40, (60, "Grad Primjer"), (520, str(number)), size=9)
        if number % 2:
            head = row(40, (60, str(number)), (430, "Odluka o potporama"), size=9)
        pages.append([*head, *column(60, 80, prose(number, 12)), At(290, 810, f"– {number} od 6 –", 9)])
    text = parse_pdf(make_pages(pages, font), limits).text
    assert len(lines_of(text)) == 2
    assert text.startswith("Odluka o potporama\n\n")
    assert "Grad Primjer" not in text
    assert "od 6" not in text


def test_a_table_header_that_stands_on_each_page_is_no_running_head(font: Path, limits: Limits) -> None:
    pages = [
        [
            *row(60, (60, "Datum"), (200, "Opis"), (400, "Iznos")),
            *(
                item
                for n in range(20)
                for item in row(
                    74 + 14 * n, (60, f"{n + 1}.{page}.2026."), (200, f"Uplata {20 * page + n}"), (400, f"{n},50")
                )
            ),
        ]
        for page in range(1, 4)
    ]
    text = parse_pdf(make_pages(pages, font), limits).text
    assert text.startswith("| Datum | Opis | Iznos |\n| --- | --- | --- |\n| 1.1.2026. | Uplata 20 | 0,50 |\n")
    assert text.count("| Uplata") == 60


@pytest.mark.parametrize("pages", [2, 3, 5])
def test_no_page_becomes_empty(pages: int, font: Path, limits: Limits) -> None:
    data = make_pages([[At(60, 60, "Namjerno prazna stranica", 20)] for _ in range(pages)], font)
    assert parse_pdf(data, limits).text.count("Namjerno prazna stranica") == pages


def test_equal_totals_are_no_feet(font: Path, limits: Limits) -> None:
    pages = [[*column(60, 80, prose(page, 5)), At(60, 780, "Ukupno: 500,00 EUR")] for page in range(3)]
    assert parse_pdf(make_pages(pages, font), limits).text.count("Ukupno: 500,00 EUR") == 3


def test_a_head_close_to_the_text_does_not_cut_a_sentence(font: Path, limits: Limits) -> None:
    pages = [column(60, 60, ["Grad Primjer, Upravni odjel", *prose(page, 6)]) for page in range(3)]
    assert parse_pdf(make_pages(pages, font), limits).text.count("Upravni odjel") == 1
