"""PDFs made with fpdf2: flowing text, its tables and columns, and text at chosen places."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import font_roboto
from fpdf import FPDF

from benchmarks.pdfs.truth import Author, Truth
from tests.support.documents import write_font
from tests.support.pages import At, make_pages, turned

MARGIN, WIDTH, HEIGHT = 56.0, 595.0, 842.0


class _Pages(FPDF):
    def __init__(self, head: str = "", foot: str = "") -> None:
        super().__init__(unit="pt")
        self._head, self._foot = head, foot
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.set_auto_page_break(True, MARGIN + 20)
        self.add_font("roboto", fname=font_roboto.Roboto)
        self.add_page()

    def header(self) -> None:
        if self._head:
            self.set_font("roboto", size=8)
            self.set_y(30)
            self.cell(0, 10, f"{self._head}, stranica {self.page_no()}", align="R")
            self.set_y(MARGIN)

    def footer(self) -> None:
        if self._foot:
            self.set_font("roboto", size=8)
            self.set_y(-40)
            self.cell(0, 10, self._foot)
            self.set_x(-MARGIN - 60)
            self.cell(60, 10, str(self.page_no()), align="R")

    def block(self, text: str, size: float, align: str = "L", after: float = 6) -> None:
        self.set_font("roboto", size=size)
        self.multi_cell(0, 1.35 * size, text, align=align, new_x="LMARGIN", new_y="NEXT")
        self.ln(after)


def prose(seed: int) -> Truth:
    """A title, sections and paragraphs over pages with a running head and foot."""
    author, truth = Author(seed), Truth("fpdf-prose")
    pdf = _Pages("Službeni glasnik Grada Primjera", "Odluka 12/2026" if seed % 2 else "")
    title = author.title()
    pdf.block(title, 20)
    truth.add_heading(title)
    for _ in range(4):
        heading = author.title()
        pdf.block(heading, 14)
        truth.add_heading(heading)
        for _ in range(3):
            text = author.paragraph()
            pdf.block(text, 10.5, "J" if seed % 2 else "L")
            truth.add(text)
    truth.data = bytes(pdf.output())
    return _with_foot(truth, "Odluka 12/2026" if seed % 2 else "")


def _with_foot(truth: Truth, foot: str) -> Truth:
    """The last page's foot counts as text: nothing of a document is lost."""
    truth.add(foot)
    return truth


def statute(seed: int) -> Truth:
    """Articles under their headings, and titles above them."""
    author, truth = Author(seed), Truth("fpdf-statute")
    pdf = _Pages()
    title = f"Odluka o {author.words(4, 8)}"
    pdf.block(title, 16, "C")
    truth.add_heading(title)
    for number in range(1, 9):
        for heading, size in ((author.title(), 12.0), (f"Članak {number}.", 10.0)):
            pdf.block(heading, size, "C", after=2)
            truth.add_heading(heading)
        for part in range(1, author.draw.randint(2, 4)):
            text = f"({part}) {author.paragraph(1, 3)}"
            pdf.block(text, 10, "J", after=2)
            truth.add(text)
    truth.data = bytes(pdf.output())
    return truth


def two_columns(seed: int) -> Truth:
    """A title across the page, and text in two columns."""
    author, truth = Author(seed), Truth("fpdf-columns")
    pdf = _Pages("Glasnik", "")
    title = author.title()
    pdf.block(title, 18)
    truth.add_heading(title)
    paragraphs = [author.paragraph() for _ in range(8)]
    pdf.set_font("roboto", size=9.5)
    with pdf.text_columns(ncols=2, gutter=20, text_align="J" if seed % 2 else "L", line_height=1.3) as columns:
        for text in paragraphs:
            with columns.paragraph(bottom_margin=6) as paragraph:
                paragraph.write(text)
    truth.add(*paragraphs)
    truth.data = bytes(pdf.output())
    return truth


def bordered_table(seed: int) -> Truth:
    """A table with borders whose cells have several lines, between paragraphs."""
    author, truth = Author(seed), Truth("fpdf-bordered-table")
    pdf = _Pages()
    before, after = author.paragraph(), author.paragraph()
    rows = author.table(9)
    for row in rows[2::3]:
        row[1] = author.words(9, 14)
    pdf.block(before, 10)
    truth.add(before)
    pdf.set_font("roboto", size=9)
    pdf.set_draw_color(90)
    with pdf.table(col_widths=(12, 45, 18, 20), line_height=13, first_row_as_headings=False) as table:
        for row in rows:
            cells = table.row()
            for cell in row:
                cells.cell(cell)
            truth.add_row(row)
    pdf.ln(10)
    pdf.block(after, 10)
    truth.add(after)
    truth.data = bytes(pdf.output())
    return truth


def statement(seed: int) -> Truth:
    """A statement of an account: pages of rows that differ in figures, below a head with a page number."""
    author, truth = Author(seed), Truth("fpdf-statement")
    pdf = _Pages("Izvadak po računu" if seed % 2 else "")
    pdf.set_font("roboto", size=10)
    for number in range(90):
        row = [author.date(), f"HR{12345 + number}", "Naknada za uslugu", f"{author.amount()} EUR"]
        if seed % 3:
            for width, cell in zip((80, 90, 200, 90), row, strict=True):
                pdf.cell(width, 15, cell)
            pdf.ln(15)
        else:
            pdf.cell(0, 15, " ".join(row), new_x="LMARGIN", new_y="NEXT")
        truth.add_row(row)
    truth.data = bytes(pdf.output())
    return truth


def invoices(seed: int) -> Truth:
    """An invoice on each page, all laid out the same."""
    author, truth = Author(seed), Truth("fpdf-invoices")
    pdf = _Pages()
    for number in range(1, 4):
        if number > 1:
            pdf.add_page()
        total = author.amount()
        for text in (
            f"Račun broj {100 * (seed % 2) + number}",
            f"Datum: {number}. svibnja 2026.",
            f"Isporučena je roba prema narudžbi: {author.words(4, 7)}.",
            f"PDV: {author.amount()} EUR",
            f"Ukupno: {total} EUR",
        ):
            pdf.block(text, 11)
            truth.add(text)
    truth.data = bytes(pdf.output())
    return truth


def notes(seed: int) -> Truth:
    """Paragraphs that go on over pages, and notes in small type at the feet of pages."""
    author, truth = Author(seed), Truth("fpdf-notes")
    lines = [(_lines(author.paragraph(7, 9), 92)) for _ in range(3)]
    pages: list[list[At]] = []
    held: list[str] = []
    flat = [line for paragraph in lines for line in paragraph]
    ends = {id(paragraph[-1]) for paragraph in lines}
    for start in range(0, len(flat), 14):
        page = [At(MARGIN, 400 + 14 * n, line, 10) for n, line in enumerate(flat[start : start + 14])]
        note = f"{len(pages) + 1} {author.sentence()[:90]}"
        page.append(At(MARGIN, 770, note, 7.5))
        pages.append(page)
        for line in flat[start : start + 14]:
            truth.add(line)
            if id(line) in ends:
                truth.add(*held)
                held = []
        if flat[start : start + 14][-1:] and id(flat[start : start + 14][-1]) in ends:
            truth.add(note)
        else:
            held.append(note)
    truth.add(*held)
    truth.data = _placed(pages)
    return truth


def columns_drawn_otherwise(seed: int) -> Truth:
    """Two or three columns, drawn from the right or line by line across the page."""
    author, truth = Author(seed), Truth("fpdf-columns-drawn-otherwise")
    number = 2 + seed % 2
    width = (WIDTH - 2 * MARGIN + 18) / number
    columns = [_lines(author.paragraph(4, 6), int((width - 18) / 4.5)) for _ in range(number)]
    items = [
        At(MARGIN + width * column, 100 + 12 * line + (5 * column if seed % 3 == 2 else 0), text, 9)
        for column, lines in enumerate(columns)
        for line, text in enumerate(lines)
    ]
    items.sort(key=lambda item: (item.y, item.x) if seed % 3 == 1 else (-item.x, item.y))
    for lines in columns:
        truth.add(*lines)
    truth.data = _placed([items])
    return truth


def hyphens(seed: int) -> Truth:
    """Words cut at the ends of lines, and compounds that end there with their own hyphen."""
    author, truth = Author(seed), Truth("fpdf-hyphens")
    items: list[At] = []
    compounds = ("Krapinsko-zagorska", "Brlić-Mažuranić", "Primorsko-goranska", "hrvatsko-engleski", "e-račun")
    for number, compound in enumerate(compounds):
        before, after = compound.split("-")
        whole = f"{author.words(6, 7)} {author.word()}ovanje"
        lines = [f"{author.words(8, 9)} {before}-", f"{after} {whole[:-5]}-", f"{whole[-5:]} {author.words(3, 5)}."]
        items += [At(MARGIN, 100 + 60 * number + 13 * line, text, 10) for line, text in enumerate(lines)]
        truth.add(f"{lines[0]}{after} {whole} {lines[2][6:]}")
    truth.data = _placed([items])
    return truth


def turned_pages(seed: int) -> Truth:
    """Text that runs upwards, on pages that are shown turned or not; or upright text on pages shown turned."""
    author, truth = Author(seed), Truth("fpdf-turned")
    lines = _lines(author.paragraph(5, 7), 80)
    truth.add(*lines)
    if seed % 3 == 2:
        truth.data = turned(_placed([[At(MARGIN, 100 + 14 * n, line, 10) for n, line in enumerate(lines)]]), 180)
        return truth
    sideways = [At(100 + 14 * n, HEIGHT - MARGIN, line, 10, angle=90) for n, line in enumerate(lines)]
    truth.data = turned(_placed([sideways]), 90) if seed % 3 else _placed([sideways])
    return truth


def hebrew(seed: int) -> Truth:
    """Right-to-left paragraphs as they are seen, with figures; in one column or in two."""
    author, truth = Author(seed), Truth("fpdf-hebrew")
    items: list[At] = []
    per_line = 5 if seed % 2 else 9
    edges = (WIDTH - MARGIN, WIDTH / 2 - 20) if seed % 2 else (WIDTH - MARGIN,)
    for edge in edges:
        for number in range(9):
            line = f"{author.hebrew(per_line)} {author.draw.randint(2, 400)}"
            truth.add(line)
            words = [word if word.isascii() else word[::-1] for word in reversed(line.split())]
            items.append(At(edge - 5 * len(line), 100 + 14 * number, " ".join(words), 10))
    truth.data = _placed([items])
    return truth


def _placed(pages: Sequence[Sequence[At]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make_pages(pages, write_font(Path(folder) / "boxes.ttf"))


def _lines(text: str, characters: int) -> list[str]:
    """A text in lines of at most so many characters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= characters:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


KINDS: Sequence[Callable[[int], Truth]] = (
    prose,
    statute,
    two_columns,
    bordered_table,
    statement,
    invoices,
    notes,
    columns_drawn_otherwise,
    hyphens,
    turned_pages,
    hebrew,
)
