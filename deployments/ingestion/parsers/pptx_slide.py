"""Writes into a slide what PowerPoint shows there and its library leaves out: equations, and numbers of list items."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree
from pptx.oxml import parse_xml

from deployments.ingestion.parsers.equations import M, linear
from deployments.ingestion.parsers.numerals import letters, roman

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_EQUATION = "{http://schemas.microsoft.com/office/drawing/2010/main}m"
_SHOWN = (f"{_A}t", f"{_A}graphicData")
_NUMBERS = re.compile(r"(arabic|alphaLc|alphaUc|romanLc|romanUc)(Period|ParenR|ParenBoth|Plain)")
_SIGNS = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}"}


def rewrite(slide: etree._Element) -> None:
    """Change a slide's tree in place."""
    for both in [*slide.iter(f"{_MC}AlternateContent")]:
        chosen = both.find(f"{_MC}Choice")
        if chosen is None or next(chosen.iter(*_SHOWN), None) is None:
            chosen = both.find(f"{_MC}Fallback")
        _put(both, [] if chosen is None else [*chosen])
    for equation in [*slide.iter(_EQUATION)]:
        _put(equation, [_run(" ".join(map(linear, equation.iter(f"{M}oMath"))))])


def labels(frame: Any) -> Iterator[str]:
    """The number in front of each paragraph of a text frame, such as "2."; empty for none."""
    counts: dict[int, tuple[str, int]] = {}  # level → (kind of the number, the last one)
    for paragraph in frame.paragraphs:
        level = paragraph.level
        for deeper in [each for each in counts if each > level]:
            del counts[deeper]
        numbered = paragraph._p.find(f"{_A}pPr/{_A}buAutoNum")
        kind = _NUMBERS.fullmatch(numbered.get("type", "")) if numbered is not None else None
        if not paragraph.text.strip():  # it has no number, and does not end a list
            yield ""
        elif numbered is None or kind is None:
            counts.pop(level, None)
            yield ""
        else:
            start = int(numbered.get("startAt", "1"))
            before = counts.get(level, ("", 0))
            number = before[1] + 1 if before[0] == kind[0] else start
            counts[level] = (kind[0], number)
            yield _SIGNS[kind[2]].format(_written(number, kind[1]))


def _written(number: int, kind: str) -> str:
    if kind == "arabic":
        return str(number)
    text = letters(number) if kind.startswith("alpha") else roman(number)
    return text.upper() if kind.endswith("Uc") else text


def _run(text: str) -> Any:
    run = parse_xml(f'<a:r xmlns:a="{_A[1:-1]}"><a:t/></a:r>')
    run.text = text
    return run


def _put(element: etree._Element, replacement: list[Any]) -> None:
    parent = element.getparent()
    if parent is not None:
        index = parent.index(element)
        parent[index : index + 1] = replacement
