"""DOCX: paragraphs, headings, lists and tables as Markdown."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import mammoth
from bs4 import BeautifulSoup

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.html import to_markdown
from deployments.ingestion.parsers.text import clean

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_TITLE = re.compile(rb"<dc:title[^>]*>([^<]*)</dc:title>")


def parse_docx(data: bytes, inflation: int) -> ParsedDocument:
    """`inflation`: how many times its own size the file may unpack to. The standard library never reads more of a
    member than its header declares, so what the headers declare bounds what is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > inflation * len(data):
                raise DocumentTooLarge(
                    f"the DOCX unpacks to {unpacked / 2**20:,.0f} MiB, more than {inflation} times its own size; "
                    "save it again in Word, or split it"
                )
            title = _core_title(archive)
        html: str = mammoth.convert_to_html(
            io.BytesIO(data), style_map=_STYLES, convert_image=_no_image, include_embedded_style_map=False
        ).value
    except (BadInput, MemoryError, RecursionError):
        raise
    except Exception as error:  # what the library raises on a hostile file is anybody's guess
        raise BrokenDocument(
            "the DOCX is damaged or protected by a password; open it in Word and save a new copy"
        ) from error
    return ParsedDocument(title=title, text=to_markdown(BeautifulSoup(html, "lxml")))


def _core_title(archive: zipfile.ZipFile) -> str:
    if "docProps/core.xml" not in archive.namelist():
        return ""
    found = _TITLE.search(archive.read("docProps/core.xml"))
    return clean(BeautifulSoup(found[1], "lxml").get_text()) if found else ""


def _no_image(image: Any) -> list[Any]:
    return []
