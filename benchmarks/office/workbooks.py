"""XLSX files: values as their formats show them, hidden rows, long gaps, boxes and charts over cells."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from typing import Any

import openpyxl
import xlsxwriter

from benchmarks.office.seen import Document, strict
from tests.support.documents import with_members


def documents() -> Iterator[Document]:
    for make in (
        _prices,
        _dates,
        _formulas,
        _hidden,
        _filtered,
        _gaps,
        _used_range,
        _formats,
        _drawings,
        _rich_text,
        _strict_form,
    ):
        yield make()


def _written(fill: Callable[[Any], None]) -> bytes:
    """A workbook as XlsxWriter writes it. `fill` gets the workbook."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    fill(book)
    book.close()
    return buffer.getvalue()


def _saved(book: Any) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _prices() -> Document:
    """Prices, rates and amounts, with a title over merged cells and two visible sheets."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Cjenik")
        sheet.merge_range("A1:D1", "Cjenik komunalnih usluga", book.add_format({"bold": True}))
        for column, name in enumerate(("Usluga", "Cijena", "PDV", "Ukupno")):
            sheet.write(2, column, name)
        money, euro = book.add_format({"num_format": '#,##0.00 "EUR"'}), book.add_format({"num_format": "#,##0.00 €"})
        percent = book.add_format({"num_format": "0%"})
        rows = (("Odvoz smeća", 12.5, 0.13, 14.125), ("Čišćenje dimnjaka", 1234.5, 0.25, 1543.125))
        for number, (name, price, rate, total) in enumerate(rows, start=3):
            sheet.write(number, 0, name)
            sheet.write(number, 1, price, money)
            sheet.write(number, 2, rate, percent)
            sheet.write(number, 3, total, euro)
        notes = book.add_worksheet("Napomene")
        notes.write(0, 0, "Cijene vrijede od 1. srpnja.")

    seen = """
    Cjenik
    Cjenik komunalnih usluga
    Usluga Cijena PDV Ukupno
    Odvoz smeća 12,50 EUR 13% 14,13 €
    Čišćenje dimnjaka 1.234,50 EUR 25% 1.543,13 €
    Napomene
    Cijene vrijede od 1. srpnja.
    """
    return Document("xlsx-prices", "cjenik.xlsx", _written(fill), seen)


def _dates() -> Document:
    """Dates and times in several formats, with the names of months and days, and durations of more than a day."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Rokovi")
        day = datetime.fromisoformat("2025-03-09T14:05:30")
        rows: tuple[tuple[str, object, str], ...] = (
            ("Predaja ponude", day, "dd.mm.yyyy."),
            ("Otvaranje ponuda", day, "d. mmmm yyyy."),
            ("Mjesec obračuna", day, "mmmm yyyy."),
            ("Dan u tjednu", day, "dddd"),
            ("Zaprimljeno", day, "dd.mm.yyyy. hh:mm"),
            ("Sastanak", time(8, 15), "hh:mm"),
            ("Trajanje radova", timedelta(hours=49, minutes=30), "[h]:mm"),
            ("Kratki datum", day, "d.m.yy."),
        )
        for number, (name, value, number_format) in enumerate(rows):
            sheet.write(number, 0, name)
            sheet.write(number, 1, value, book.add_format({"num_format": number_format}))
        sheet.write(len(rows), 0, "Žalba je dopuštena")

    seen = """
    Rokovi
    Predaja ponude 09.03.2025.
    Otvaranje ponuda 9. ožujka 2025.
    Mjesec obračuna ožujak 2025.
    Dan u tjednu nedjelja
    Zaprimljeno 09.03.2025. 14:05
    Sastanak 08:15
    Trajanje radova 49:30
    Kratki datum 9.3.25.
    Žalba je dopuštena
    """
    return Document("xlsx-dates", "rokovi.xlsx", _written(fill), seen)


def _formulas() -> Document:
    """Formulas with a last value, of which one is an error, and truth values."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Proračun")
        money = book.add_format({"num_format": "#,##0"})
        sheet.write_row(0, 0, ("Stavka", "Iznos", "Provjereno"))
        sheet.write_row(1, 0, ("Plaće", 410000))
        sheet.write_boolean(1, 2, True)
        sheet.write_row(2, 0, ("Uredski materijal", 8600))
        sheet.write_boolean(2, 2, False)
        sheet.write(3, 0, "Sveukupno")
        sheet.write_formula("B4", "=SUM(B2:B3)", money, 418600)
        sheet.write(4, 0, "Po vrtiću")
        sheet.write_formula("B5", "=B4/0", None, "#DIV/0!")
        sheet.write_formula("C5", '="Rebalans "&2025', None, "Rebalans 2025")

    seen = """
    Proračun
    Stavka Iznos Provjereno
    Plaće 410000 TRUE
    Uredski materijal 8600 FALSE
    Sveukupno 418.600
    Po vrtiću #DIV/0! Rebalans 2025
    """
    return Document("xlsx-formulas", "proracun.xlsx", _written(fill), seen)


def _hidden() -> Document:
    """Rows, columns and sheets that the author hid, and values that their format hides."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Natjecatelji")
        sheet.write_row(0, 0, ("Ime", "OIB", "Bodovi", "Šifra"))
        sheet.write_row(1, 0, ("Šime", "12345678903", 88, 501), None)
        sheet.write_row(2, 0, ("Đina", "98765432106", 91, 502), None)
        sheet.write_row(3, 0, ("Odustao Krešo", "11111111119", 12, 503), None)
        sheet.set_column(1, 1, None, None, {"hidden": True})
        sheet.set_row(3, None, None, {"hidden": True})
        sheet.write(4, 3, 777, book.add_format({"num_format": ";;;"}))
        secret = book.add_worksheet("Lozinke")
        secret.write(0, 0, "tajna riječ")
        secret.hide()

    seen = """
    Natjecatelji
    Ime Bodovi Šifra
    Šime 88 501
    Đina 91 502
    """
    return Document("xlsx-hidden", "natjecatelji.xlsx", _written(fill), seen)


def _filtered() -> Document:
    """A list with a filter. Its rows are a choice of the last reader, so all of them count as seen."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Škole")
        rows = (("Škola", "Mjesto"), ("OŠ Vladimira Nazora", "Čazma"), ("OŠ Braće Radić", "Pakrac"))
        for number, cells in enumerate(rows):
            sheet.write_row(number, 0, cells)
        sheet.autofilter("A1:B3")
        sheet.filter_column("B", 'x == "Pakrac"')
        sheet.set_row(1, None, None, {"hidden": True})

    seen = "Škole Škola Mjesto OŠ Vladimira Nazora Čazma OŠ Braće Radić Pakrac"
    return Document("xlsx-filter", "skole.xlsx", _written(fill), seen)


def _gaps() -> Document:
    """Cells far from each other, down to the last row and to the last column."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Raspršeno"
    sheet["A1"], sheet["C1"] = "Početna ćelija", "pokraj nje"
    sheet["XFD2"] = "posljednji stupac"
    sheet["B52000"], sheet["A52001"] = "nakon praznine", "odmah ispod"
    sheet["A1048576"] = "zadnji redak lista"
    seen = """
    Raspršeno Početna ćelija pokraj nje posljednji stupac nakon praznine odmah ispod zadnji redak lista
    """
    return Document("xlsx-long-gaps", "rasprseno.xlsx", _saved(book), seen)


def _used_range() -> Document:
    """A used range of a million rows of which nearly all are empty, as after formats for whole columns."""
    book = openpyxl.Workbook()
    book.active.title = "Očevidnik"
    for cells in (("Vozilo", "Kilometri"), ("Škoda", 120500)):
        book.active.append(cells)
    rows = "".join(f'<row r="{row}" s="1"><c r="A{row}" s="0"/><c r="B{row}" s="0"/></row>' for row in range(3, 10**6))
    last = '<row r="1000001"><c r="A1000001" t="inlineStr"><is><t>Kraj očevidnika</t></is></c></row>'
    data = _saved(book)
    name = "xl/worksheets/sheet1.xml"
    part = _part(data, name).replace("</sheetData>", f"{rows}{last}</sheetData>")
    part = part.replace('<dimension ref="A1:B2"/>', '<dimension ref="A1:XFD1048576"/>')
    seen = "Očevidnik Vozilo Kilometri Škoda 120500 Kraj očevidnika"
    return Document("xlsx-used-range", "ocevidnik.xlsx", with_members(data, {name: part}), seen)


def _part(data: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name).decode()


def _formats() -> Document:
    """Formats with words, signs, powers, and sections for negative numbers, zero and text."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Skladište"
    rows: tuple[tuple[str, object, str], ...] = (
        ("Količina", 40, '0 "kom"'),
        ("Težina", 2.5, '#,##0.0" kg"'),
        ("Manjak", -1200, "#,##0;(#,##0)"),
        ("Saldo", -15.5, '_-* #,##0.00\\ "kn"_-;\\-* #,##0.00\\ "kn"_-'),
        ("Promjena", 0.075, '+0.0%;-0.0%;"bez promjene"'),
        ("Promjena lani", 0, '+0.0%;-0.0%;"bez promjene"'),
        ("Odobreno", 1, '"da";;"ne"'),
        ("Naručeno", 0, '"da";;"ne"'),
        ("Polica", "B-12", '"polica "@'),
        ("Milijuni", 3450000, '0.0,," mil."'),
        ("Šifra", 42, "00000"),
        ("Telefon", 38514, "000-000"),
        ("Atomi", 602200, "0.00E+00"),
        ("Udio", 0.75, "# ?/?"),
        ("Prosjek", 3.14159, "General"),
        ("Žig", 7, "@"),
    )
    for name, value, number_format in rows:
        sheet.append((name, value))
        sheet.cell(sheet.max_row, 2).number_format = number_format
    seen = """
    Skladište
    Količina 40 kom
    Težina 2,5 kg
    Manjak (1.200)
    Saldo -15,50 kn
    Promjena +7,5%
    Promjena lani bez promjene
    Odobreno da
    Naručeno ne
    Polica polica B-12
    Milijuni 3,5 mil.
    Šifra 00042
    Telefon 038-514
    Atomi 6,02E+05
    Udio 3/4
    Prosjek 3,14159
    Žig 7
    """
    return Document("xlsx-formats", "skladiste.xlsx", _saved(book), seen)


def _drawings() -> Document:
    """A text box and a chart with its titles over the cells; a note on a cell, which is a reviewer's."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Potrošnja")
        for number, cells in enumerate((("Mjesec", "Plin"), ("siječanj", 310), ("veljača", 285))):
            sheet.write_row(number, 0, cells)
        sheet.insert_textbox("E2", "Očitanje radi dimnjačar svakog petog u mjesecu.")
        chart = book.add_chart({"type": "column"})
        chart.add_series(
            {"name": "=Potrošnja!$B$1", "categories": "=Potrošnja!$A$2:$A$3", "values": "=Potrošnja!$B$2:$B$3"}
        )
        chart.set_title({"name": "Potrošnja po mjesecima"})
        chart.set_y_axis({"name": "kubični metri"})
        sheet.insert_chart("E8", chart)
        sheet.write_comment("B2", "Provjeri brojilo!")

    seen = """
    Potrošnja
    Mjesec Plin siječanj 310 veljača 285
    Očitanje radi dimnjačar svakog petog u mjesecu.
    Potrošnja po mjesecima
    kubični metri
    """
    return Document("xlsx-drawings", "potrosnja.xlsx", _written(fill), seen)


def _rich_text() -> Document:
    """Cells of several fonts and lines, and readings of signs, which are not shown."""

    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Opisi")
        bold = book.add_format({"bold": True})
        sheet.write_rich_string("A1", "Rok je ", bold, "trideset", " dana od primitka")
        sheet.write("A2", "Prvi redak\nDrugi redak", book.add_format({"text_wrap": True}))
        sheet.write("B2", "crta | između")
        sheet.write("A3", "東京 kao odredište")

    data = _written(fill)
    name = "xl/sharedStrings.xml"
    reading = '<t>東京 kao odredište</t><rPh sb="0" eb="2"><t>toukyou</t></rPh>'
    part = _part(data, name).replace("<t>東京 kao odredište</t>", reading)
    seen = """
    Opisi Rok je trideset dana od primitka Prvi redak Drugi redak crta između 東京 kao odredište
    """
    return Document("xlsx-rich-text", "opisi.xlsx", with_members(data, {name: part}), seen)


def _strict_form() -> Document:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Stanovništvo")
        sheet.write_row(0, 0, ("Naselje", "Udio", "Popis"))
        sheet.write(1, 0, "Donja Vrućica")
        sheet.write(1, 1, 0.125, book.add_format({"num_format": "0.0%"}))
        sheet.write(1, 2, datetime.fromisoformat("2021-08-31"), book.add_format({"num_format": "d.m.yyyy."}))

    seen = "Stanovništvo Naselje Udio Popis Donja Vrućica 12,5% 31.8.2021."
    return Document("xlsx-strict", "stanovnistvo.xlsx", strict(_written(fill)), seen)
