"""Numbers the items of an HTML page's lists as a browser does, and writes them."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Tag
from markdownify import MarkdownConverter

from deployments.ingestion.parsers.numerals import letters, roman

_LABEL = "data-label"
_STYLE = re.compile(
    r"list-style(?:-type)?\s*:[^;]*?\b(lower-alpha|lower-latin|upper-alpha|upper-latin|lower-roman|"
    r"upper-roman|decimal|none)\b",
    re.IGNORECASE,
)
_KINDS = {"a": "lower-alpha", "A": "upper-alpha", "i": "lower-roman", "I": "upper-roman", "1": "decimal"}
_LINE = re.compile(r"^(?=.)", re.MULTILINE)


def number_items(root: Tag | BeautifulSoup) -> None:
    """Write onto each item of the tree's ordered lists the label that is shown in front of it."""
    for items in root.find_all("ol"):
        own = items.find_all("li", recursive=False)
        step = -1 if items.has_attr("reversed") else 1
        number = _whole(items.get("start"), len(own) if step < 0 else 1)
        kind = _kind(items)
        for item in own:
            number = _whole(item.get("value"), number)
            item[_LABEL] = _label(number, kind)
            number += step


def _kind(items: Tag) -> str:
    styled = _STYLE.search(str(items.get("style", "")))
    return styled[1].lower() if styled else _KINDS.get(str(items.get("type", "1")), "decimal")


def _label(number: int, kind: str) -> str:
    """The label; empty for a list that shows none."""
    if kind == "none":
        return ""
    text = letters(number) if kind.endswith(("alpha", "latin")) else roman(number) if kind.endswith("roman") else ""
    return f"{text.upper() if kind.startswith('upper') else text or number}." if text else f"{number}."


def _whole(value: object, default: int) -> int:
    text = str(value or "").strip()
    return int(text[:9]) if re.fullmatch(r"-?\d+", text, re.ASCII) else default


class ListConverter(MarkdownConverter):
    """Writes items with their labels. markdownify counts them itself, in a time that grows with the square of them."""

    def convert_li(self, element: Any, text: str | None, parent_tags: set[str]) -> str:
        text = (text or "").strip()
        if not text:
            return "\n"
        label = element.get(_LABEL) or "-"
        return label + _LINE.sub(" " * (len(label) + 1), text)[len(label) :] + "\n"
