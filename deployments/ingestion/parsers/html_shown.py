"""Takes out of an HTML page what a browser does not show, and what only surrounds its text. Opens what it folds."""

from __future__ import annotations

import re
from collections import Counter

from bs4 import BeautifulSoup
from bs4.element import Tag

from deployments.ingestion.omissions import Omission

_NOT_TEXT = "script, style, nav, noscript, noframes, template, datalist, [role=navigation]"
_HIDDEN = "[hidden], dialog:not([open])"
_UNSEEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?:^|[;\s])(?:opacity|font-size)\s*:\s*0(?:\.0*)?[a-z%]*"
    r"\s*(?:;|!|$)",
    re.IGNORECASE,
)
_FOUND_BY_BROWSERS = "until-found"
"""The value of `hidden` for what a browser's own search opens."""
_ASIDES = ["aside", "footer"]
_WITHIN_TEXT = ["article", "main"]
_MENU_ITEMS = 10
_SHARE = 0.5
"""Text with so much of it in links leads elsewhere."""
_OPENERS = 1000
"""Buttons of one page whose panels are opened."""
_PANELS = 10
"""Panels of one button."""
_TIMES = 10
"""How often a page's text is looked at for its panels, as they may be within one another."""
_FRAMES = 100
"""Pages that are written into a page's frames, of those that are read."""
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6", "summary"]
_PIXEL = ("0", "1")
"""Width or height of what only counts readers."""


def leave_out_unseen(soup: BeautifulSoup, left_out: Counter[Omission], *, of_book: bool) -> None:
    """Change the page's tree in place. Words that are hidden count, and pages in frames."""
    for frame in soup.select("iframe[srcdoc]", limit=_FRAMES):  # its page stands in this one
        page = BeautifulSoup(str(frame["srcdoc"]), "lxml")
        frame.replace_with(page.body or "")
    for noise in soup.select(_NOT_TEXT):
        noise.decompose()
    _open_folded(soup)
    for hidden in soup.select(_HIDDEN):
        left_out["hidden_word"] += len(hidden.get_text(" ").split())
        hidden.decompose()
    for hidden in soup.find_all(style=_UNSEEN):
        if hidden.find("math") is None:
            left_out["hidden_word"] += len(hidden.get_text(" ").split())
            hidden.decompose()
        elif (picture := hidden.find_next_sibling("img")) is not None:
            picture.decompose()  # Wikipedia hides equations behind pictures of them
    _leave_out_buttons(soup)
    for frame in soup.find_all(["iframe", "frame"]):
        is_pixel = frame.get("width") in _PIXEL or frame.get("height") in _PIXEL
        left_out["frame"] += bool(frame.get("src") or frame.get("srcdoc")) and not is_pixel
        frame.decompose()
    if not of_book:
        for aside in soup.find_all(_ASIDES):
            if not _belongs_to_text(aside):
                aside.decompose()
        _leave_out_menus(soup)


def _leave_out_buttons(soup: BeautifulSoup) -> None:
    """Keep the buttons that are headings, or parts of one."""
    kept: set[int] = set()
    for button in soup.find_all("button"):
        around = next((each for each in button.parents if id(each) in kept or each.name in _HEADINGS), None)
        if around is None and button.find(_HEADINGS) is None:
            button.decompose()
        else:
            button.name = "div" if around is None else "span"
            kept.add(id(button))


def _open_folded(soup: BeautifulSoup) -> None:
    """Show what a reader opens with a click: panels with their buttons, and what a browser's search opens."""
    panels = {str(panel["id"]): panel for panel in soup.find_all(id=True)}
    openers = soup.select("[aria-controls]", limit=_OPENERS)
    left = _TIMES * _characters(soup) if openers else 0
    for opener in openers:
        named = (panels.get(name) for name in str(opener["aria-controls"]).split()[:_PANELS])
        opened: list[Tag] = []
        for panel in filter(None, named):
            characters = _characters(panel)
            left -= characters
            if left < 0:
                return
            if characters and not _is_of_links(panel):
                opened.append(panel)
        for panel in opened:
            _show(panel)
        if opened and opener.name == "button" and opener.find_parent(_HEADINGS) is None:
            opener.name = "div"
    for panel in soup.select(f"[hidden={_FOUND_BY_BROWSERS}]"):
        _show(panel)


def _show(panel: Tag) -> None:
    for name in ("hidden", "style"):
        del panel[name]


def _belongs_to_text(aside: Tag) -> bool:
    """Whether a side note or a foot is within the page's text, and is not about other pages."""
    for around in aside.parents:
        if around.name == "blockquote" or around.name in _ASIDES:  # one that was kept
            return True
        if around.name in _WITHIN_TEXT:
            return not _is_of_links(aside)
    return False


def _is_of_links(element: Tag) -> bool:
    return sum(map(_characters, element.find_all("a"))) >= _SHARE * max(_characters(element), 1)


def _leave_out_menus(soup: BeautifulSoup) -> None:
    for menu in [items for items in soup.find_all(["ul", "ol"]) if _is_menu(items)]:
        if menu.find_parent(_WITHIN_TEXT) is None or _leads_to_same(menu):
            menu.decompose()


def _leads_to_same(menu: Tag) -> bool:
    """Whether a list leads to parts of its own page, or to the page in other languages."""
    links = menu.find_all("a")
    return all(link.has_attr("hreflang") or str(link.get("href", "#")).startswith("#") for link in links)


def _is_menu(items: Tag) -> bool:
    """Whether a list is a menu: it is long, and has nothing but links."""
    links = "".join(link.get_text() for link in items.find_all("a"))
    return len(items.find_all("li")) >= _MENU_ITEMS and "".join(links.split()) == "".join(items.get_text().split())


def _characters(element: Tag) -> int:
    return len(element.get_text(strip=True))
