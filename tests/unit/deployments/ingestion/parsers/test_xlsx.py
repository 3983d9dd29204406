from __future__ import annotations

import io
import re
import time as clock
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from openpyxl.chart import BarChart, Reference
from openpyxl.drawing.image import Image

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.xlsx import _BLOCK, parse_xlsx
from deployments.ingestion.parsers.xlsx_formats import shown
from tests.support.documents import make_picture, make_xlsx, with_members

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
        (0, '#,##0.00;-#,##0.00;"–"', "–"),
        (1234.5, "[$€-41A] #,##0.00", "€ 1.234,50"),
        (1234.5, '#,##0.00\\ "kn"', "1.234,50 kn"),
        (1234.5, '"$"#,##0.00', "$1,234.50"),
        (1234.5, "[$$-409]#,##0.00", "$1,234.50"),
        (1234567, '0.0,,"M"', "1,2M"),
        (42, "00000", "00042"),
        (0.5, "0.0##", "0,5"),
        (2.675, "0.00", "2,68"),
        (38598123456, "000-000", "38598123-456"),
        (38514, "(000) 000", "(038) 514"),
        (1.5, "# ?/?", "1 1/2"),
        (0.75, "# ?/?", "3/4"),
        (2.5, "?/4", "10/4"),
        (2, "# ?/?", "2"),
        (602200, "0.00E+00", "6,02E+05"),
        (-0.00012, "0.0E-0", "-1,2E-4"),
        (1, '"da";;"ne"', "da"),
        (0, '"da";;"ne"', "ne"),
        (777, ";;;", ""),
        ("skriveno", ";;;", ""),
        ("B-12", '"polica "@', "polica B-12"),
        ("bez iznosa", '_-* #,##0.00\\ "kn"_-', "bez iznosa"),
        (timedelta(hours=49, minutes=30), "[h]:mm", "49:30"),
        (timedelta(minutes=-90), "[mm]:ss", "-90:00"),
        (timedelta(hours=1, seconds=5), "h.mm", "1:00:05"),
        (True, "General", "TRUE"),
        (datetime.fromisoformat("2025-01-31"), "dd.mm.yyyy.", "31.01.2025."),
        (datetime.fromisoformat("2025-01-31"), "d/m/yy", "31/1/25"),
        (datetime.fromisoformat("2025-01-31"), "mm-dd-yy", "31.1.2025."),
        (datetime.fromisoformat("2025-01-31"), "d. mmmm yyyy.", "31. siječnja 2025."),
        (datetime.fromisoformat("2025-01-31"), "mmmm yyyy.", "siječanj 2025."),
        (datetime.fromisoformat("2025-01-31"), "ddd dd-mmm", "pet 31-sij"),
        (datetime.fromisoformat("2025-01-31"), "dddd", "petak"),
        (datetime.fromisoformat("2025-01-31"), "mmmmm", "2025-01-31"),
        (datetime.fromisoformat("2025-01-31T15:04"), "dd.mm.yyyy hh:mm", "31.01.2025 15:04"),
        (time(15, 4), "h:mm AM/PM", "3:04 PM"),
        (time(15, 4), "hh:mm:ss", "15:04:00"),
    ],
)
def test_number_formats(value: object, number_format: str, text: str) -> None:
    assert shown(value, number_format, croatian=True) == text


def test_names_of_months_in_other_languages_are_not_known() -> None:
    assert shown(datetime.fromisoformat("2025-01-31"), "d mmm yyyy", croatian=False) == "2025-01-31"


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


def test_charts_pictures_and_hidden_sheets_are_counted(limits: Limits) -> None:
    book = openpyxl.Workbook()
    for row in (("Godina", "Žalbe"), (2024, 12), (2025, 15)):
        book.active.append(row)
    for place in ("D1", "D20"):
        chart = BarChart()
        chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=3), titles_from_data=True)
        book.active.add_chart(chart, place)
    other = book.create_sheet("Slika")
    other.add_image(Image(io.BytesIO(make_picture())), "A1")
    for name, state in (("Skriven", "hidden"), ("Vrlo skriven", "veryHidden")):
        hidden = book.create_sheet(name)
        hidden.append(["Tajna"])
        hidden.sheet_state = state
    buffer = io.BytesIO()
    book.save(buffer)
    document = parse_xlsx(buffer.getvalue(), limits)
    assert "Tajna" not in document.text
    assert warnings(document.left_out) == ("2 hidden sheets", "2 charts", "1 picture without text")


def made(fill: Callable[[Any], None]) -> bytes:
    """A workbook that XlsxWriter writes. `fill` gets its first sheet, of the name "Popis"."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    fill(book.add_worksheet("Popis"))
    book.close()
    return buffer.getvalue()


def test_hidden_rows_and_columns_are_left_out(limits: Limits) -> None:
    def fill(sheet: Any) -> None:
        for number in range(4):
            sheet.write_row(number, 0, (f"a{number}", f"b{number}", f"c{number}"))
        sheet.set_row(2, None, None, {"hidden": True})
        sheet.set_column(1, 1, None, None, {"hidden": True})

    document = parse_xlsx(made(fill), limits)
    assert document.text == "## Popis\n\n| a0 | c0 |\n| --- | --- |\n| a1 | c1 |\n| a3 | c3 |"
    assert warnings(document.left_out) == ("1 hidden row", "1 hidden column")


def test_hidden_rows_and_columns_without_text_are_no_loss(limits: Limits) -> None:
    def fill(sheet: Any) -> None:
        sheet.write_row(0, 0, ("a", "b"))
        sheet.set_default_row(hide_unused_rows=True)
        sheet.set_row(5, None, None, {"hidden": True})
        sheet.set_column("C:XFD", None, None, {"hidden": True})

    assert warnings(parse_xlsx(made(fill), limits).left_out) == ()


def test_notes_on_cells_are_counted(limits: Limits) -> None:
    def fill(sheet: Any) -> None:
        sheet.write_row(0, 0, ("a", "b"))
        for cell, note in (("A1", "Provjeriti s računovodstvom."), ("B1", "Vrijedi do lipnja.")):
            sheet.write_comment(cell, note)

    document = parse_xlsx(made(fill), limits)
    assert "lipnja" not in document.text
    assert warnings(document.left_out) == ("2 comments",)


def test_formulas_in_hidden_columns_are_left_out(limits: Limits) -> None:
    book = openpyxl.Workbook()
    book.active.append(["zbroj", "=1+1", "=2+2"])
    book.active.column_dimensions["C"].hidden = True
    buffer = io.BytesIO()
    book.save(buffer)
    assert parse_xlsx(buffer.getvalue(), limits).text == "## Sheet\n\n| zbroj | =1+1 |\n| --- | --- |"


@pytest.mark.parametrize("kind", ["filter", "table", "group"])
def test_rows_that_a_click_shows_are_read(limits: Limits, kind: str) -> None:
    def fill(sheet: Any) -> None:
        for number in range(3):
            sheet.write_row(number, 0, (f"a{number}", f"b{number}"))
        match kind:
            case "filter":
                sheet.autofilter("A1:B3")
                sheet.filter_column("A", "x == a2")
            case "table":
                sheet.add_table("A1:B3", {"columns": [{"header": "a0"}, {"header": "b0"}]})
        sheet.set_row(1, None, None, {"hidden": True, "level": 1 if kind == "group" else 0})

    data = made(fill)
    if kind == "table":
        chosen = '<autoFilter ref="A1:B3"><filterColumn colId="0"/></autoFilter>'
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            table = archive.read("xl/tables/table1.xml").decode()
        assert '<autoFilter ref="A1:B3"/>' in table
        assert "a1" not in parse_xlsx(data, limits).text
        data = with_members(data, {"xl/tables/table1.xml": table.replace('<autoFilter ref="A1:B3"/>', chosen)})
    assert "| a1 | b1 |" in parse_xlsx(data, limits).text


def test_boxes_and_titles_of_charts_come_after_the_cells(limits: Limits) -> None:
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    sheet = book.add_worksheet("Popis")
    sheet.write_row(0, 0, ("plin", 310))
    sheet.insert_textbox("E2", "Očitava dimnjačar.")
    chart = book.add_chart({"type": "column"})
    chart.add_series({"values": "=Popis!$B$1:$B$1"})
    chart.set_title({"name": "Potrošnja"})
    chart.set_y_axis({"name": "kubici"})
    sheet.insert_chart("E8", chart)
    book.add_worksheet("Samo okvir").insert_textbox("A1", "Bez ćelija.")
    book.close()
    assert parse_xlsx(buffer.getvalue(), limits).text == (
        "## Popis\n\n| plin | 310 |\n| --- | --- |\n\nPotrošnja\n\nkubici\n\nOčitava dimnjačar.\n\n"
        "## Samo okvir\n\nBez ćelija."
    )


def test_rows_of_a_sheet_of_several_blocks_are_all_read(limits: Limits) -> None:
    def fill(sheet: Any) -> None:
        for number in range(6000):
            sheet.write_row(number, 0, (f"redak {number}", number))
        for hidden in (3, 5998):
            sheet.set_row(hidden, None, None, {"hidden": True})

    data = made(fill)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").replace(b"<c ", b"<c" + b" " * 200)
    assert len(sheet) > 2 * _BLOCK
    text = parse_xlsx(with_members(data, {"xl/worksheets/sheet1.xml": sheet}), limits).text
    assert [number for number in range(6000) if f"| redak {number} |" not in text] == [3, 5998]


def sheet_of(limits: Limits, rows: str, *, size: str = "") -> str:
    """The text of a workbook whose only sheet has this XML in its rows."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{space}">{size}<sheetData>{rows}</sheetData></worksheet>'.encode()
    data = with_members(made(lambda sheet: sheet.write(0, 0, "a")), {"xl/worksheets/sheet1.xml": sheet})
    return parse_xlsx(data, limits).text.removeprefix("## Popis\n\n")


@pytest.mark.parametrize(("value", "first"), [("<v>5</v>", "5"), ("", "=A1*2")])
def test_a_shared_formula_is_written_out_whether_its_first_cell_has_a_value_or_not(
    value: str, first: str, limits: Limits
) -> None:
    shared = '<f t="shared" ref="B1:B3" si="0">A1*2</f>'
    rows = (
        f'<row r="1"><c r="A1"><v>1</v></c><c r="B1">{shared}{value}</c></row>'
        '<row r="2"><c r="A2"><v>2</v></c><c r="B2"><f t="shared" si="0"/></c></row>'
        '<row r="3"><c r="A3"><v>3</v></c><c r="B3"><f t="shared" si="0"/><v>6</v></c></row>'
    )
    assert sheet_of(limits, rows) == f"| 1 | {first} |\n| --- | --- |\n| 2 | =A2*2 |\n| 3 | 6 |"


def test_an_array_formula_without_a_value_is_shown(limits: Limits) -> None:
    rows = '<row r="1"><c r="A1"><v>1</v></c><c r="B1"><f t="array" ref="B1">SUM(C1:C9)</f></c></row>'
    assert sheet_of(limits, rows) == "| 1 | =SUM(C1:C9) |\n| --- | --- |"


def test_cells_and_rows_without_references_follow_one_another(limits: Limits) -> None:
    rows = "<row><c><v>1</v></c><c><v>2</v></c></row><row><c><v>3</v></c><c><v>4</v></c></row>"
    assert sheet_of(limits, rows) == "| 1 | 2 |\n| --- | --- |\n| 3 | 4 |"


@pytest.mark.parametrize("size", ["", '<dimension ref="A1"/>', '<dimension ref="A1:XFD1048576"/>'])
def test_the_size_that_a_sheet_states_does_not_matter(size: str, limits: Limits) -> None:
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="900000"><c r="C900000"><v>2</v></c></row>'
    assert sheet_of(limits, rows, size=size) == "1\n\n2"


def test_a_sheet_with_entities_is_refused(limits: Limits) -> None:
    sheet = (
        b'<!DOCTYPE x [<!ENTITY b "bbbb">]><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        b'<sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>&b;</t></is></c></row></sheetData></worksheet>'
    )
    data = with_members(made(lambda sheet: sheet.write(0, 0, "a")), {"xl/worksheets/sheet1.xml": sheet})
    with pytest.raises(BrokenDocument, match="entities"):
        parse_xlsx(data, limits)


@pytest.mark.parametrize("title", ["Prihod po godinama", ""])
def test_a_sheet_that_is_one_chart_is_its_title_or_counted(limits: Limits, title: str) -> None:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        book.add_worksheet("A").write_column(0, 0, [1, 2])
        chart = book.add_chart({"type": "bar"})
        chart.add_series({"values": "=A!$A$1:$A$2"})
        chart.set_title({"name": title} if title else {"none": True})
        book.add_chartsheet("Graf").set_chart(chart)
    document = parse_xlsx(buffer.getvalue(), limits)
    assert document.text == "\n\n".join(filter(None, ("## A\n\n1\n2", title)))
    assert warnings(document.left_out) == (() if title else ("1 chart",))


def test_a_formula_whose_value_is_an_empty_text_is_an_empty_cell(limits: Limits) -> None:
    data = make_xlsx({"A": [["Ime", "Opis"], ["Ana", "x"], ["Ivo", "da"]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    cell = re.compile('<c r="B2"[^>]*>.*?</c>')
    for value, text in (('t="str"><f>IF(1,"","a")</f><v></v>', ""), ("><f>1+1</f><v></v>", "=1+1")):
        changed = {"xl/worksheets/sheet1.xml": cell.sub(f'<c r="B2" {value}</c>', sheet)}
        assert f"| Ana | {text} |" in parse_xlsx(with_members(data, changed), limits).text


def test_headers_and_footers_of_printed_pages_are_read_once(limits: Limits) -> None:
    book = openpyxl.load_workbook(io.BytesIO(make_xlsx({"A": [["a", "b"]], "B": [["c", "d"]]})))
    for sheet in book:
        sheet.oddHeader.left.text, sheet.oddHeader.center.text = "KLASA: 041-01/25", "Stranica &P od &N"
        sheet.evenHeader.left.text, sheet.oddFooter.right.text = "KLASA: 041-01/25", "Grad Šibenik && Knin &D"
        sheet.oddFooter.right.font, sheet.oddFooter.right.size = "Arial,Bold", 12
    buffer = io.BytesIO()
    book.save(buffer)
    margins = "KLASA: 041-01/25\n\nGrad Šibenik & Knin"
    table = "| --- | --- |"
    assert parse_xlsx(buffer.getvalue(), limits).text == (
        f"## A\n\n| a | b |\n{table}\n\n{margins}\n\n## B\n\n| c | d |\n{table}\n\n{margins}"
    )
