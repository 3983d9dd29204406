"""Reads an HTML page's forms: what is filled in, and whether a form is the page itself."""

from __future__ import annotations

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, Tag

_TYPED = ("text", "email", "tel", "url", "number", "date", "datetime-local", "month", "week", "time")
_BOXES = "input[type=checkbox], input[type=radio]"
_SHARE = 0.5
"""A form with so much of a page's text is the page, as in those that ASP.NET writes. Others ask for a search."""
_WORDS = 8
"""A form with fewer words is a search, or asks for an address."""


def leave_out_small_forms(body: Tag | BeautifulSoup) -> int:
    """Take out the forms that are only part of a page. Returns how many of them say more than what to type in."""
    characters = len(body.get_text(strip=True))
    telling = 0
    for form in body.find_all("form"):
        if len(form.get_text(strip=True)) < _SHARE * characters:
            telling += len(form.get_text(" ").split()) >= _WORDS
            form.decompose()
    return telling


def write_fields(root: Tag | BeautifulSoup) -> None:
    """Put what the tree's fields show in their places: ☒ and ☐, texts, and what is chosen of lists."""
    for box in root.select(_BOXES):
        box.replace_with(("☒" if box.has_attr("checked") else "☐") + _gap(box.next_sibling))
    for field in root.find_all("input"):
        value = field.get("value", "") if str(field.get("type", "text")).lower() in _TYPED else ""
        _put(field, str(value))
    for choice in root.find_all("select"):
        options = choice.find_all("option")
        chosen = [option for option in options if option.has_attr("selected")]
        if not chosen and not choice.has_attr("multiple"):
            chosen = options[:1]
        _put(choice, ", ".join(option.get_text(" ", strip=True) for option in chosen))
    for area in root.find_all("textarea"):
        _put(area, area.get_text())


def _put(field: Tag, text: str) -> None:
    """Put a text in a field's place, apart from what stands beside it."""
    if not text.strip():
        field.decompose()
        return
    before, after = field.previous_sibling, field.next_sibling
    lead = "" if before is None or (isinstance(before, NavigableString) and before[-1:].isspace()) else " "
    field.replace_with(lead + text + ("" if after is None else _gap(after)))


def _gap(following: PageElement | None) -> str:
    """A space, unless what follows begins with one."""
    return "" if isinstance(following, NavigableString) and following[:1].isspace() else " "
