from __future__ import annotations

import io
import time as clock
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time

import openpyxl
import pytest

from deployments.errors import DocumentTooLarge
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.xlsx import parse_xlsx
from deployments.ingestion.parsers.xlsx_formats import shown
from tests.support.documents import make_xlsx

IN_TIME_S = IngestionConfig().parse_timeout_s


def test_sheets_are_headings_above_their_tables(limits: Limits) -> None:
    sheets: dict[str, list[list[object]]] = {
        "Cjenik 2025": [
            ["Cjenik usluga"],
            [],
            [None, "Usluga", "Cijena", "Od"],
            [None, "Pregled | prvi", 0.1 + 0.2, datetime.fromisoformat("2025-01-31")],
            [None, "Kontrola\nu tjednu", 20, datetime.fromisoformat("2025-02-01T08:30")],
        ],
        "Prazan": [],
        "Napomene": [["Članak 5."], ["Vrijedi od 2025."]],
    }
    document = parse_xlsx(make_xlsx(sheets, title="Cjenik"), limits)
    assert document.title == "Cjenik"
    assert document.pages == ()
    assert document.text == (
        "## Cjenik 2025\n\nCjenik usluga\n\n"
        "| Usluga | Cijena | Od |\n| --- | --- | --- |\n"
        "| Pregled \\| prvi | 0.3 | 2025-01-31 |\n| Kontrola u tjednu | 20 | 2025-02-01 8:30:00 |\n\n"
        "## Napomene\n\nČlanak 5.\nVrijedi od 2025."
    )


def test_hidden_sheets_are_left_out(limits: Limits) -> None:
    book = openpyxl.load_workbook(io.BytesIO(make_xlsx({"Vidljiv": [["a"]], "Skriven": [["b"]]})))
    book["Skriven"].sheet_state = "hidden"
    buffer = io.BytesIO()
    book.save(buffer)
    assert parse_xlsx(buffer.getvalue(), limits).text == "## Vidljiv\n\na"


def test_the_text_limit_holds_while_reading(limits: Limits) -> None:
    data = make_xlsx({"A": [[f"redak {n}", "x" * 50] for n in range(2000)]})
    assert len(parse_xlsx(data, limits).text) > 100_000
    with pytest.raises(DocumentTooLarge, match="more than 10,000 characters"):
        parse_xlsx(data, replace(limits, text_characters=10_000))


def test_cells_are_as_their_formats_show_them(limits: Limits, case: Callable[[str], bytes]) -> None:
    assert parse_xlsx(case("xlsx-percent-formula.xlsx"), limits).text == (
        "## Sheet\n\n| Naziv | Stopa | Iznos |\n| --- | --- | --- |\n| PDV | 25% | 1.234,50 EUR |\n"
        "| Zbroj |  | =SUM(C2:C2) |\n| Ukupno spojeno |  | 77 |\n| Dvored | 5% | 1 |\n|  | 13% | 2 |"
    )


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (1234.5, "General", "1234.5"),
        (0.1 + 0.2, "General", "0.3"),
        (0.256, "0%", "26%"),
        (0.125, "0.0%", "12,5%"),
        (1234567.891, "#,##0.00", "1.234.567,89"),
        (-1234.5, "#,##0.00", "-1.234,50"),
        (-1234.5, "#,##0.00;[Red](#,##0.00)", "(1.234,50)"),
        (0, '#,##0.00;-#,##0.00;"–"', "0"),
        (1234.5, "[$€-41A] #,##0.00", "€ 1.234,50"),
        (1234.5, '#,##0.00\\ "kn"', "1.234,50 kn"),
        (1234.5, '"$"#,##0.00', "$1,234.50"),
        (1234.5, "[$$-409]#,##0.00", "$1,234.50"),
        (1234567, '0.0,,"M"', "1,2M"),
        (42, "00000", "00042"),
        (0.5, "0.0##", "0,5"),
        (2.675, "0.00", "2,68"),
        (38598123456, "000-000", "38598123456"),
        (1.5, "# ?/?", "1.5"),
        (True, "General", "TRUE"),
        (datetime.fromisoformat("2025-01-31"), "dd.mm.yyyy.", "31.01.2025."),
        (datetime.fromisoformat("2025-01-31"), "d/m/yy", "31/1/25"),
        (datetime.fromisoformat("2025-01-31"), "mm-dd-yy", "31.1.2025."),
        (datetime.fromisoformat("2025-01-31"), "d. mmmm yyyy.", "2025-01-31"),
        (datetime.fromisoformat("2025-01-31T15:04"), "dd.mm.yyyy hh:mm", "31.01.2025 15:04"),
        (time(15, 4), "h:mm AM/PM", "3:04 PM"),
        (time(15, 4), "hh:mm:ss", "15:04:00"),
    ],
)
def test_number_formats(value: object, number_format: str, text: str) -> None:
    assert shown(value, number_format, croatian=True) == text


def test_a_workbook_in_another_language_keeps_its_separators(limits: Limits) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Total", 1234.5])
    book.active["B1"].number_format = "#,##0.00"
    buffer = io.BytesIO()
    book.save(buffer)
    assert parse_xlsx(buffer.getvalue(), limits).text.startswith("## Sheet\n\n| Total | 1,234.50 |")


def test_rows_after_a_long_gap_are_read_in_time(limits: Limits) -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["A1048576"], book.active["XFD3"] = "prvi", "zadnji", "desni"
    buffer = io.BytesIO()
    book.save(buffer)
    begin = clock.monotonic()
    text = parse_xlsx(buffer.getvalue(), limits).text
    assert clock.monotonic() - begin < IN_TIME_S
    assert text == "## Sheet\n\nprvi\n\ndesni\n\nzadnji"


def test_a_million_empty_rows_are_passed_over_in_time(limits: Limits) -> None:
    data = make_xlsx({"A": [["prvi", "b"], ["drugi", "d"]]})
    rows = "".join(f'<row r="{row}" s="1"><c r="A{row}" s="0"/><c r="B{row}" s="0"/></row>' for row in range(3, 10**6))
    last = '<row r="1000001"><c r="A1000001" t="inlineStr"><is><t>zadnji</t></is></c></row>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name).replace(b"</sheetData>", f"{rows}{last}</sheetData>".encode())
            new.writestr(name, content)
    begin = clock.monotonic()
    text = parse_xlsx(buffer.getvalue(), limits).text
    assert clock.monotonic() - begin < IN_TIME_S
    assert text == "## A\n\n| prvi | b |\n| --- | --- |\n| drugi | d |\n\nzadnji"
