"""Parses HTML: the main part of a page, without menus, headers, footers and scripts."""

from __future__ import annotations

import re
import warnings

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.element import Comment, NavigableString, Tag
from markdownify import ATX, MarkdownConverter

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.html_tables import make_plain
from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean, decode_declared

_NOISE = "script, style, nav, footer, aside, noscript, template, form, iframe, svg, button, [hidden], [role=navigation]"
_DECLARED = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([A-Za-z0-9_-]{2,30})", re.IGNORECASE
)
_SOFT_BREAK = re.compile(r"(?:\xad|&shy;|&#173;|&#xad;)[ \t]*\r?\n[ \t]*", re.IGNORECASE)
"""A line break of the page's source behind a soft hyphen: the word goes on."""
_MAIN_CHARACTERS = 200
_MENU_ITEMS = 10
_DISPLAY_NONE = re.compile(r"display\s*:\s*none")


def parse_html(data: bytes) -> ParsedDocument:
    declared = _DECLARED.search(data[:2048])
    return parse_markup(decode_declared(data, declared[1].decode() if declared else ""))


def parse_markup(page: str) -> ParsedDocument:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning))
        soup = BeautifulSoup(_SOFT_BREAK.sub("", page), "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for noise in soup.select(_NOISE) + soup.find_all(style=_DISPLAY_NONE):
        noise.decompose()
    for menu in [items for items in soup.find_all(["ul", "ol"]) if _is_menu(items)]:
        menu.decompose()
    heading = soup.find("h1")
    if not title and heading:
        title = heading.get_text(" ", strip=True)
    main = soup.select_one("main, [role=main]")
    # Some pages have an empty <main>, which a script fills in the browser.
    root = main if main and len(main.get_text(strip=True)) >= _MAIN_CHARACTERS else soup.body or soup
    return ParsedDocument(title=clean(title), text=to_markdown(root))


def _is_menu(items: Tag) -> bool:
    """Whether a list is a menu: it is long, and has nothing but links."""
    links = "".join(link.get_text() for link in items.find_all("a"))
    return len(items.find_all("li")) >= _MENU_ITEMS and "".join(links.split()) == "".join(items.get_text().split())


def to_markdown(root: Tag | BeautifulSoup) -> str:
    """Markdown of an HTML tree. Links become their text, and pictures are left out."""
    make_plain(root)
    for box in root.select("input[type=checkbox], input[type=radio]"):
        following = box.next_sibling
        gap = "" if isinstance(following, NavigableString) and following[:1].isspace() else " "
        box.replace_with(("☒" if box.has_attr("checked") else "☐") + gap)
    for reading in root.find_all("rt"):
        if reading.find_next_sibling("rp") is None:  # else the page has its own brackets for it
            reading.string = f"({reading.get_text(strip=True)})"
    for comment in root.find_all(string=lambda node: isinstance(node, Comment)):
        comment.extract()
    converter = MarkdownConverter(
        heading_style=ATX,
        strip=["a", "img"],
        bullets="-",
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        table_infer_header=True,
        wrap=True,
        wrap_width=None,
    )
    text: str = converter.convert_soup(root)
    return clean(mark_headings(clean(text)))
