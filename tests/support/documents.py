"""Documents made for tests. The PDF font is made on the spot too: boxes for glyphs, but with Croatian letters."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import docx
import openpyxl
import pptx
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fpdf import FPDF

_LETTERS = [*map(chr, range(0x20, 0x7F)), *"čćđšžČĆĐŠŽ–—„”•§", *map(chr, range(0x5D0, 0x5EB))]


def write_font(path: Path, style: str = "Regular", letters: Sequence[str] = _LETTERS) -> Path:
    """A TrueType font in which every letter is the same box: text is laid out, extracted and never looked at.

    A bold `style` differs by its name only.
    """
    names = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    pen = TTGlyphPen(None)
    for step, point in enumerate(((50, 0), (50, 700), (450, 700), (450, 0))):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    box = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, box))
    font.setupHorizontalMetrics(dict.fromkeys(names, (500, 50)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Boxes", "styleName": style})
    font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    font.setupPost()
    font.save(path)
    return path


def make_pdf(
    paragraphs: Sequence[str], font: Path, *, title: str = "", password: str = "", running_head: str = ""
) -> bytes:
    """A PDF of paragraphs; one of `# …` is set large and centred, one of `> …` only centred."""

    class Pages(FPDF):
        def header(self) -> None:
            if running_head:
                self.set_font("Boxes", size=9)
                self.cell(0, 6, f"{running_head} {self.page_no()}", align="R", new_x="LMARGIN", new_y="NEXT")

    pdf = Pages()
    pdf.add_font("Boxes", "", font)
    if title:
        pdf.set_title(title)
    if password:
        pdf.set_encryption(owner_password=password, user_password=password)
    pdf.add_page()
    for paragraph in paragraphs:
        large, centred = paragraph.startswith("# "), paragraph.startswith(("# ", "> "))
        pdf.set_font("Boxes", size=18 if large else 11)
        text = paragraph[2:] if centred else paragraph
        pdf.multi_cell(0, 9 if large else 6, text, align="C" if centred else "L", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def make_docx(paragraphs: Sequence[str], *, title: str = "", table: Sequence[Sequence[str]] = ()) -> bytes:
    """A DOCX of paragraphs; `# …` and `## …` become headings of level 1 and 2."""
    document = docx.Document()
    document.core_properties.title = title
    for paragraph in paragraphs:
        level = len(paragraph) - len(paragraph.lstrip("#"))
        if level:
            document.add_heading(paragraph[level:].strip(), level)
        else:
            document.add_paragraph(paragraph)
    if table:
        grid = document.add_table(rows=len(table), cols=len(table[0]))
        for row, cells in enumerate(table):
            for column, text in enumerate(cells):
                grid.cell(row, column).text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def make_pptx(
    slides: Sequence[tuple[str, Sequence[str]]], *, notes: str = "", table: Sequence[Sequence[str]] = ()
) -> bytes:
    """A PPTX of slides, each a title (empty for none) and its bullets; notes and table are the last slide's."""
    deck = pptx.Presentation()
    for title, bullets in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1 if title else 6])
        if title:
            slide.shapes.title.text = title
            slide.placeholders[1].text = "\n".join(bullets)
        else:
            slide.shapes.add_textbox(0, 0, 10**6, 10**6).text_frame.text = "\n".join(bullets)
    if notes:
        slide.notes_slide.notes_text_frame.text = notes
    if table:
        grid = slide.shapes.add_table(len(table), len(table[0]), 0, 6 * 10**6, 10**6, 10**6).table
        for row, cells in enumerate(table):
            for column, text in enumerate(cells):
                grid.cell(row, column).text = text
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def make_xlsx(sheets: Mapping[str, Sequence[Sequence[object]]], *, title: str = "") -> bytes:
    """An XLSX of sheets by name."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.title = title or None
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def make_epub(pages: Sequence[str], *, title: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """An EPUB of HTML pages in this order, stored in the other one; `more` are further members."""
    names = [f"p{number} a.xhtml" for number in range(len(pages))]
    items = "".join(
        f'<item id="i{n}" href="{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for n, name in reversed([*enumerate(names)])
    )
    references = "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{references}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    members = {"META-INF/container.xml": container, "OEBPS/content.opf": package}
    members |= {f"OEBPS/{name}": page for name, page in reversed([*zip(names, pages, strict=True)])}
    return make_zip({"mimetype": "application/epub+zip"} | members | dict(more or {}))


def make_zip(members: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_members(data: bytes, members: Mapping[str, str | bytes]) -> bytes:
    """A ZIP with some members replaced or added."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return make_zip({name: archive.read(name) for name in archive.namelist()} | dict(members))


def make_picture(width: int = 100, height: int = 100, shade: int = 0) -> bytes:
    """A PNG in one shade of grey, 0 to 255."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([shade]) * width) * height
    parts = part(b"IHDR", size) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
