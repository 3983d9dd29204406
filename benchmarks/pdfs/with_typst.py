"""PDFs made with Typst, which breaks words and lines as books do: with hyphenation, notes, heads and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import font_roboto
import typst

from benchmarks.pdfs.truth import Author, Truth

_FONTS = [str(Path(font_roboto.Roboto).parent)]


def _compiled(source: str) -> bytes:
    made = typst.compile(source.encode(), font_paths=typst.Fonts(font_paths=_FONTS))
    assert isinstance(made, bytes)
    return made


def _page(columns: int, head: str = "") -> str:
    header = f"header: [#text(8pt)[{head} #h(1fr) #context counter(page).display()]]," if head else ""
    return (
        f'#set page("a4", margin: 56pt, columns: {columns}, {header})\n'
        '#set text(font: "Libertinus Serif", lang: "hr", size: 10pt, hyphenate: true)\n#set par(justify: true)\n'
        "#show heading.where(level: 1): set text(18pt)\n#show heading.where(level: 2): set text(13pt)\n"
    )


def article(seed: int) -> Truth:
    """Hyphenated and justified text in one column or two, with a running head that counts pages."""
    author, truth = Author(seed), Truth("typst-columns" if seed % 2 else "typst-prose")
    head = "Glasnik za prosvjetu"
    parts = [_page(1 + seed % 2, head)]
    truth.add(head)
    for number in range(6):
        heading = author.title()
        truth.add_heading(heading)
        parts.append(f"{'==' if number else '='} {heading}\n")
        for _ in range(3):
            text = author.paragraph()
            truth.add(text)
            parts.append(f"{text}\n\n")
    truth.data = _compiled("".join(parts))
    return truth


def table(seed: int) -> Truth:
    """A table with strokes around cells, below the header only, or nowhere."""
    author, truth = Author(seed), Truth("typst-table")
    stroke = ("0.5pt", "none", "(x, y) => if y == 0 { (bottom: 1pt) }")[seed % 3]
    before, after = author.paragraph(), author.paragraph()
    rows = author.table(10)
    if seed % 3 == 0:
        rows[4][1] = author.words(14, 18)
    cells = "".join(f"[{cell}]," for row in rows for cell in row)
    truth.add(before)
    for row in rows:
        truth.add_row(row)
    truth.add(after)
    made = f"#table(columns: (60pt, 190pt, 70pt, 90pt), inset: 5pt, stroke: {stroke}, {cells})"
    truth.data = _compiled(f"{_page(1)}{before}\n\n{made}\n\n{after}")
    return truth


def list_of_items(seed: int) -> Truth:
    """Bulleted and numbered lists whose items have several lines."""
    author, truth = Author(seed), Truth("typst-lists")
    parts = [_page(1)]
    heading = author.title()
    truth.add_heading(heading)
    parts.append(f"= {heading}\n")
    for number in range(10):
        text = author.paragraph(1, 3)
        truth.add(*([str(number - 4)] if number > 4 else []), text)
        parts.append(f"{'+' if number > 4 else '-'} {text}\n")
        if number == 4:
            between = author.sentence()
            truth.add(between)
            parts.append(f"\n{between}\n\n")
    truth.data = _compiled("".join(parts))
    return truth


KINDS: Sequence[Callable[[int], Truth]] = (article, article, table, list_of_items)
