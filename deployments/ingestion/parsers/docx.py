"""Parses DOCX: paragraphs, headings, lists and tables."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import mammoth
from bs4 import BeautifulSoup

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.archive import opened
from deployments.ingestion.parsers.html import to_markdown
from deployments.ingestion.parsers.text import clean

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_TITLE = re.compile(rb"<dc:title[^>]*>([^<]*)</dc:title>")


def parse_docx(data: bytes, inflation: int) -> ParsedDocument:
    with opened(data, inflation, "DOCX") as archive:
        title = _core_title(archive)
        html: str = mammoth.convert_to_html(
            io.BytesIO(data), style_map=_STYLES, convert_image=_no_image, include_embedded_style_map=False
        ).value
    return ParsedDocument(title=title, text=to_markdown(BeautifulSoup(html, "lxml")))


def _core_title(archive: zipfile.ZipFile) -> str:
    if "docProps/core.xml" not in archive.namelist():
        return ""
    found = _TITLE.search(archive.read("docProps/core.xml"))
    return clean(BeautifulSoup(found[1], "lxml").get_text()) if found else ""


def _no_image(image: Any) -> list[Any]:
    return []
