"""Parses DOCX: paragraphs, headings, lists, tables, equations, and the pages' headers and footers."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import mammoth
from bs4 import BeautifulSoup
from lxml import etree

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.archive import opened, transitional, with_parts, xml
from deployments.ingestion.parsers.docx_body import margin_texts, rewrite
from deployments.ingestion.parsers.docx_numbering import Numbering, add_bullets
from deployments.ingestion.parsers.html import to_markdown
from deployments.ingestion.parsers.text import clean, first_heading

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_TITLE = re.compile(rb"<dc:title[^>]*>([^<]*)</dc:title>")
_MAIN_PART = re.compile(r"word/document\d*\.xml")
_HEADER = re.compile(r"word/header\d*\.xml")
_FOOTER = re.compile(r"word/footer\d*\.xml")


def parse_docx(data: bytes, inflation: int) -> ParsedDocument:
    """Headers and footers are at the beginning, once each, so that they are under no heading of the text."""
    with opened(data, inflation, "DOCX"), zipfile.ZipFile(io.BytesIO(transitional(data))) as archive:
        title = _core_title(archive)
        html: str = mammoth.convert_to_html(
            io.BytesIO(_rewritten(archive)),
            style_map=_STYLES,
            convert_image=_no_image,
            include_embedded_style_map=False,
        ).value
        margins = [*_margins(archive, _HEADER), *_margins(archive, _FOOTER)]
    text = to_markdown(BeautifulSoup(html, "lxml"))
    return ParsedDocument(title or first_heading(text), clean("\n\n".join([*dict.fromkeys(margins), text])))


def _rewritten(archive: zipfile.ZipFile) -> bytes:
    """The document with what Word shows and mammoth leaves out written into its main parts."""
    numbering, styles = _part(archive, "word/numbering.xml"), _part(archive, "word/styles.xml")
    changed: dict[str, etree._Element] = {}
    for name in filter(_MAIN_PART.fullmatch, archive.namelist()):
        if (body := _part(archive, name)) is not None:
            rewrite(body, Numbering(numbering, styles))
            changed[name] = body
    if numbering is not None:
        add_bullets(numbering)
        changed["word/numbering.xml"] = numbering
    return with_parts(archive, {name: etree.tostring(part, encoding="UTF-8") for name, part in changed.items()})


def _margins(archive: zipfile.ZipFile, names: re.Pattern[str]) -> list[str]:
    parts = (_part(archive, name) for name in sorted(filter(names.fullmatch, archive.namelist())))
    return [clean(text) for part in parts if part is not None for text in margin_texts(part)]


def _part(archive: zipfile.ZipFile, name: str) -> etree._Element | None:
    return xml(archive.read(name)) if name in archive.namelist() else None


def _core_title(archive: zipfile.ZipFile) -> str:
    if "docProps/core.xml" not in archive.namelist():
        return ""
    found = _TITLE.search(archive.read("docProps/core.xml"))
    return clean(BeautifulSoup(found[1], "lxml").get_text()) if found else ""


def _no_image(image: Any) -> list[Any]:
    return []
