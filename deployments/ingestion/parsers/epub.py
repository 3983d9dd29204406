"""Parses EPUB: the book's pages in reading order, each as HTML."""

from __future__ import annotations

import posixpath
import zipfile
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.archive import opened, xml
from deployments.ingestion.parsers.html import parse_html
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.text import clean

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/x-dtbook+xml", "image/svg+xml")
"""Media types of pages: those of old books and of drawings too."""


def parse_epub(data: bytes, limits: Limits) -> ParsedDocument:
    text = BoundedText(limits.text_characters)
    left_out: Counter[Omission] = Counter()
    with opened(data, limits.inflation, "EPUB") as archive:
        if _is_encrypted(archive):
            raise BrokenDocument("the EPUB is protected (DRM), so its text cannot be read; send one without protection")
        root = xml(archive.read(_CONTAINER))
        package = next(name for element in root.iterfind(".//{*}rootfile") if (name := element.get("full-path")))
        book = xml(archive.read(package))
        members = {name.lower(): name for name in archive.namelist()}
        members |= {name: name for name in archive.namelist()}
        pages = 0
        spine = [*_spine(book, posixpath.dirname(package))]
        left_out["page"] += spine.count("")
        for page in filter(None, dict.fromkeys(spine)):
            member = members.get(page) or members.get(page.lower())
            if member is None:
                left_out["page"] += 1
                continue
            parsed = parse_html(archive.read(member), of_book=True)
            text.add(parsed.text)
            left_out.update(parsed.left_out)
            pages += 1
        if not pages:
            raise BrokenDocument("the EPUB is damaged: none of the pages that it names is in it; send a whole copy")
        title = clean(book.findtext(".//{http://purl.org/dc/elements/1.1/}title") or "")
    return ParsedDocument(title=title, text=clean(str(text)), left_out=left_out)


def _spine(book: etree._Element, folder: str) -> Iterator[str]:
    """The archive members with the book's pages in reading order, without a table of contents.

    A page of which the book does not say what it is has an empty name.
    """
    items = {item.get("id"): item for item in book.iterfind("{*}manifest/{*}item")}
    for reference in book.iterfind("{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in _PAGES:
            yield ""
        elif "nav" not in (item.get("properties") or "").split():
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))


def _is_encrypted(archive: zipfile.ZipFile) -> bool:
    """Whether anything but fonts is encrypted. Fonts are often scrambled, and do not matter here."""
    if _ENCRYPTION not in archive.namelist():
        return False
    methods = xml(archive.read(_ENCRYPTION)).iterfind(".//{*}EncryptedData/{*}EncryptionMethod")
    return any(method.get("Algorithm") not in _FONT_SCRAMBLING for method in methods)
