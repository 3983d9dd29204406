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
_PAGES = ("application/xhtml+xml", "text/html")


def parse_epub(data: bytes, limits: Limits) -> ParsedDocument:
    text = BoundedText(limits.text_characters)
    left_out: Counter[Omission] = Counter()
    with opened(data, limits.inflation, "EPUB") as archive:
        if _is_encrypted(archive):
            raise BrokenDocument("the EPUB is protected (DRM), so its text cannot be read; send one without protection")
        root = xml(archive.read(_CONTAINER))
        package = next(name for element in root.iterfind(".//{*}rootfile") if (name := element.get("full-path")))
        book = xml(archive.read(package))
        for page in dict.fromkeys(_spine(book, posixpath.dirname(package))):
            parsed = parse_html(archive.read(page), of_book=True)
            text.add(parsed.text)
            left_out.update(parsed.left_out)
        title = clean(book.findtext(".//{http://purl.org/dc/elements/1.1/}title") or "")
    return ParsedDocument(title=title, text=clean(str(text)), left_out=left_out)


def _spine(book: etree._Element, folder: str) -> Iterator[str]:
    """The archive members with the book's pages in reading order, without a table of contents."""
    items = {item.get("id"): item for item in book.iterfind("{*}manifest/{*}item")}
    for reference in book.iterfind("{*}spine/{*}itemref"):
        item = items[reference.get("idref")]
        if item.get("media-type") in _PAGES and "nav" not in (item.get("properties") or "").split():
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))


def _is_encrypted(archive: zipfile.ZipFile) -> bool:
    """Whether anything but fonts is encrypted. Fonts are often scrambled, and do not matter here."""
    if _ENCRYPTION not in archive.namelist():
        return False
    methods = xml(archive.read(_ENCRYPTION)).iterfind(".//{*}EncryptedData/{*}EncryptionMethod")
    return any(method.get("Algorithm") not in _FONT_SCRAMBLING for method in methods)
