"""Pages as a word processor or a browser lays them out, from one description: as HTML, and as a Word document."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import docx
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from benchmarks.pdfs.truth import Author, Row, Truth

_STYLE = (
    "@page{{size:A4;margin:20mm}}body{{font-family:sans-serif;font-size:10.5pt;columns:{columns};column-gap:8mm;"
    "text-align:justify;hyphens:none}}h1{{font-size:18pt}}h2{{font-size:13pt}}h1,h2{{text-align:left}}"
    "p.bold{{font-weight:bold;text-align:center}}table{{border-collapse:collapse;width:100%}}"
    "td{{text-align:left;padding:2pt 4pt;{border}}}"
)
_BORDER = "border:1px solid #555"


@dataclass(slots=True)
class Page:
    """Parts in order: (kind, content). `truth` is what a reader sees of them."""

    truth: Truth
    columns: int = 1
    borders: bool = True
    parts: list[tuple[str, Any]] = field(default_factory=list)

    def heading(self, text: str, level: int) -> None:
        self.parts.append((f"h{level}", text))
        self.truth.add_heading(text)

    def bold(self, text: str) -> None:
        """A heading that is a bold line of the same size as the text."""
        self.parts.append(("bold", text))
        self.truth.add_heading(text)

    def paragraph(self, text: str) -> None:
        self.parts.append(("p", text))
        self.truth.add(text)

    def items(self, texts: Sequence[str], *, numbered: bool) -> None:
        self.parts.append(("ol" if numbered else "ul", texts))
        for number, text in enumerate(texts, start=1):
            self.truth.add(*([f"{number}."] if numbered else []), text)

    def table(self, rows: Sequence[Row]) -> None:
        self.parts.append(("table", rows))
        for row in rows:
            self.truth.add_row(row)


def pages(name: str, first_seed: int, seeds: int) -> Iterator[Page]:
    """The pages of each kind, a few of each. `name` is the program's that is to print them."""
    for number, kind in enumerate((_article, _columns, _table, _rules, _long_table)):
        for seed in range(seeds):
            yield kind(name, first_seed + seeds * number + seed)


def _article(name: str, seed: int) -> Page:
    """Sections with paragraphs and lists, over several pages."""
    author, page = Author(seed), Page(Truth(f"{name}-prose"))
    page.heading(author.title(), 1)
    for number in range(5):
        page.heading(author.title(), 2)
        page.paragraph(author.paragraph())
        page.items([author.sentence() for _ in range(3)], numbered=number % 2 == 0)
        page.paragraph(author.paragraph())
    return page


def _columns(name: str, seed: int) -> Page:
    author, page = Author(seed), Page(Truth(f"{name}-columns"), columns=2)
    for _ in range(4):
        page.heading(author.title(), 2)
        for _ in range(3):
            page.paragraph(author.paragraph())
    return page


def _table(name: str, seed: int) -> Page:
    """A table between paragraphs, with borders or without, with cells of several lines."""
    author, page = Author(seed), Page(Truth(f"{name}-table"), borders=seed % 2 == 0)
    rows = author.table(14)
    if page.borders:
        for row in rows[2::4]:
            row[1] = author.words(12, 16)
    page.paragraph(author.paragraph())
    page.table(rows)
    page.paragraph(author.paragraph())
    return page


def _rules(name: str, seed: int) -> Page:
    """Rules whose headings are bold lines of the text's own size."""
    author, page = Author(seed), Page(Truth(f"{name}-bold-headings"))
    page.heading(author.title(), 1)
    for _ in range(6):
        page.bold(author.title())
        for _ in range(2):
            page.paragraph(author.paragraph())
    return page


def _long_table(name: str, seed: int) -> Page:
    """A table over several pages."""
    author, page = Author(seed), Page(Truth(f"{name}-long-table"), borders=seed % 2 == 0)
    page.paragraph(author.paragraph())
    page.table(author.table(90))
    page.paragraph(author.paragraph())
    return page


def html(page: Page) -> str:
    body = "".join(_html_part(kind, content) for kind, content in page.parts)
    style = _STYLE.format(columns=page.columns, border=_BORDER if page.borders else "")
    return f'<!doctype html><html lang="hr"><meta charset="utf-8"><style>{style}</style><body>{body}</body></html>'


def _html_part(kind: str, content: Any) -> str:
    match kind:
        case "bold":
            return f'<p class="bold">{escape(content)}</p>'
        case "ol" | "ul":
            return f"<{kind}>{''.join(f'<li>{escape(item)}</li>' for item in content)}</{kind}>"
        case "table":
            rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in content)
            return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
        case _:
            return f"<{kind}>{escape(content)}</{kind}>"


def word(page: Page) -> bytes:
    """The page as a Word document."""
    document = docx.Document()
    columns = OxmlElement("w:cols")
    columns.set(qn("w:num"), str(page.columns))
    columns.set(qn("w:space"), "454")
    for old in document.sections[0]._sectPr.findall(qn("w:cols")):
        document.sections[0]._sectPr.remove(old)
    document.sections[0]._sectPr.append(columns)
    for kind, content in page.parts:
        _add(document, page, kind, content)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _add(document: Any, page: Page, kind: str, content: Any) -> None:
    match kind:
        case "h1" | "h2":
            document.add_heading(content, int(kind[1]))
        case "bold":
            line = document.add_paragraph()
            line.alignment = WD_ALIGN_PARAGRAPH.CENTER
            line.add_run(content).bold = True
        case "ol" | "ul":
            for number, item in enumerate(content, start=1):
                # Typed numbers: those of the template's list would go on from one list to the next.
                if kind == "ol":
                    document.add_paragraph(f"{number}. {item}")
                else:
                    document.add_paragraph(item, style="List Bullet")
        case "table":
            grid = document.add_table(rows=0, cols=len(content[0]), style="Table Grid" if page.borders else None)
            for row in content:
                for cell, text in zip(grid.add_row().cells, row, strict=True):
                    cell.text = text
        case _:
            document.add_paragraph(content).alignment = WD_ALIGN_PARAGRAPH.JUSTIFY
