"""Parses HTML: the main part of a page, without menus, headers, footers and scripts."""

from __future__ import annotations

import re
import warnings
from collections import Counter

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.element import Comment, NavigableString, PageElement, Tag
from markdownify import ATX

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.html_equations import make_linear
from deployments.ingestion.parsers.html_forms import leave_out_small_forms, write_fields
from deployments.ingestion.parsers.html_lists import ListConverter, number_items
from deployments.ingestion.parsers.html_shown import leave_out_unseen
from deployments.ingestion.parsers.html_tables import TableConverter, make_plain
from deployments.ingestion.parsers.pictures import alternative_text
from deployments.ingestion.parsers.raised import LOWERED, RAISED, raised
from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean, decode_declared

_DECLARED = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([A-Za-z0-9_-]{2,30})", re.IGNORECASE
)
_SOFT_BREAK = re.compile(r"(?:\xad|&shy;|&#173;|&#xad;)[ \t]*\r?\n[ \t]*", re.IGNORECASE)
"""A line break of the page's source behind a soft hyphen: the word goes on."""
_DOCTYPE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<!DOCTYPE[^\[>]*\[([^\]]*)\]\s*>", re.IGNORECASE)
_ENTITY = re.compile(r"<!ENTITY\s+([\w.-]{1,100})\s+(?:\"([^\"&<]{0,100})\"|'([^'&<]{0,100})')\s*>")
"""A name that a page itself gives to a text. Names within names are not written out."""
_NAMED = re.compile(r"&([\w.-]{1,100});")
_MAIN_CHARACTERS = 200
_PIXEL = ("0", "1")
"""Width or height of a picture that only counts readers."""
_MARKS = ["b", "strong", "i", "em"]
_BLOCKS = (
    "address", "center", "details", "dialog", "fieldset", "figure", "header", "hgroup", "legend", "main", "search",
    "summary",
)  # fmt: skip
"""Elements that browsers show as blocks, and the library as words of a line."""


class _Converter(ListConverter, TableConverter):
    """Writes lists and tables as this project does, the rest as markdownify."""


def parse_html(data: bytes, *, of_book: bool = False) -> ParsedDocument:
    """`of_book`: the page is a book's, so its notes belong to the text."""
    return parse_markup(_decoded(data), of_book=of_book)


def parse_markup(page: str, *, of_book: bool = False) -> ParsedDocument:
    left_out: Counter[Omission] = Counter()
    soup = _read(page)
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    _leave_out(soup, left_out, of_book=of_book)
    heading = soup.find("h1")
    if not title and heading:
        title = heading.get_text(" ", strip=True)
    main = None if of_book else soup.select_one("main, [role=main]")
    # Some pages have an empty <main>, which a script fills in the browser.
    root = main if main and len(main.get_text(strip=True)) >= _MAIN_CHARACTERS else soup.body or soup
    if heading is not None and root.find("h1") is None and heading.get_text(" ", strip=True) not in title:
        root.insert(0, heading.extract())  # it stands above the main part
    return ParsedDocument(title=clean(title), text=to_markdown(root, left_out), left_out=left_out)


def page_body(data: bytes, left_out: Counter[Omission]) -> Tag | BeautifulSoup:
    """The body of a page that is part of another document. Adds to `left_out` what is not shown of it."""
    soup = _read(_decoded(data))
    _leave_out(soup, left_out, of_book=True)
    return soup.body or soup


def _decoded(data: bytes) -> str:
    declared = _DECLARED.search(data[:2048])
    return decode_declared(data, declared[1].decode() if declared else "")


def _read(page: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning))
        return BeautifulSoup(_SOFT_BREAK.sub("", _with_entities(page)), "lxml")


def _leave_out(soup: BeautifulSoup, left_out: Counter[Omission], *, of_book: bool) -> None:
    leave_out_unseen(soup, left_out, of_book=of_book)
    for drawing in soup.find_all("svg"):
        labels = (label.get_text(" ", strip=True) for label in drawing.find_all("text"))
        drawing.replace_with(" ".join(["", *filter(None, labels), ""]))
    left_out["form"] += leave_out_small_forms(soup.body or soup)


def _with_entities(page: str) -> str:
    """The page with the texts that it gives names to in the places of these names."""
    doctype = _DOCTYPE.match(page)
    if doctype is None:
        return page
    texts = {name: text or other for name, text, other in _ENTITY.findall(doctype[1])}
    return _NAMED.sub(lambda name: texts.get(name[1], name[0]), page[doctype.end() :])


def to_markdown(root: Tag | BeautifulSoup, left_out: Counter[Omission]) -> str:
    """Markdown of an HTML tree. Links and pictures become their text. Adds to `left_out` what has none."""
    _replace_media(root, left_out)
    make_plain(root)
    write_fields(root)
    make_linear(root)
    _write_small_numbers(root)
    _keep_words_whole(root)
    for block in root.find_all(_BLOCKS):
        block.name = "div"
    number_items(root)
    for reading in root.find_all("rt"):
        if reading.find_next_sibling("rp") is None:  # else the page has its own brackets for it
            reading.string = f"({reading.get_text(strip=True)})"
    for comment in root.find_all(string=lambda node: isinstance(node, Comment)):
        comment.extract()
    converter = _Converter(
        heading_style=ATX,
        strip=["a"],
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        table_infer_header=True,
        wrap=True,
        wrap_width=None,
    )
    text: str = converter.convert_soup(root)
    return clean(mark_headings(clean(text)))


def _write_small_numbers(root: Tag | BeautifulSoup) -> None:
    """Keep raised and lowered numbers apart from what is before them: 10<sup>3</sup> is not 103."""
    for element in root.find_all(["sup", "sub"]):
        text, small = element.get_text(strip=True), RAISED if element.name == "sup" else LOWERED
        before = str(element.find_previous(string=True) or "")
        if not before[-1:].strip() or not element.get_text()[:1].strip():
            continue
        if before[-1].isdecimal() and all(ord(character) in small for character in text):
            element.string = text.translate(small)
        elif element.name == "sup" and text.isdecimal():
            element.string = raised(before, text)


def _keep_words_whole(root: Tag | BeautifulSoup) -> None:
    """Take marks out of words: a search would not find **r**edak."""
    for element in root.find_all(_MARKS):
        before, after = element.previous_sibling, element.next_sibling
        # Only beside a text: elements within one another would be walked through from each of them.
        if _is_one_word(before, element.next_element) or (
            isinstance(after, NavigableString) and _is_one_word(_last_within(element), after)
        ):
            _unmark(element)


def _unmark(element: Tag) -> None:
    """Take an element's mark away, and those of the elements that are all that is in it."""
    inner: PageElement | None = element
    while isinstance(inner, Tag) and inner.name in _MARKS:
        inner.name = "span"
        inner = inner.contents[0] if len(inner.contents) == 1 else None


def _last_within(element: Tag) -> PageElement:
    last: PageElement = element
    while isinstance(last, Tag) and last.contents:
        last = last.contents[-1]
    return last


def _is_one_word(before: PageElement | None, after: PageElement | None) -> bool:
    """Whether two texts are joined within a word."""
    return type(before) is type(after) is NavigableString and before[-1:].isalpha() and after[:1].isalpha()


def _replace_media(root: Tag | BeautifulSoup, left_out: Counter[Omission]) -> None:
    """Put pictures' texts in their places. A page marks one that is mere decoration with an empty text."""
    for picture in root.find_all("img"):
        text = alternative_text(picture.get("alt"))
        is_decoration = picture.get("alt") == "" or picture.get("width") in _PIXEL or picture.get("height") in _PIXEL
        left_out["picture"] += not (text or is_decoration)
        picture.replace_with(f" {text} ")
    for media in root.find_all(["audio", "video"]):
        left_out["media"] += 1
        media.decompose()
    for embedded in root.find_all(["embed", "object"]):
        left_out["object"] += not embedded.get_text(strip=True)
