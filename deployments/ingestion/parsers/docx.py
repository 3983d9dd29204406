"""Parses DOCX: its text with numbers, tables, equations, boxes and charts, and the pages' headers and footers."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import mammoth
from bs4 import BeautifulSoup
from lxml import etree

from deployments.errors import UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.archive import comments, opened, related, transitional, with_parts, xml
from deployments.ingestion.parsers.docx_body import rewrite
from deployments.ingestion.parsers.docx_chunks import Chunks
from deployments.ingestion.parsers.docx_drawings import choose, take_out_objects, write_drawings, write_word_art
from deployments.ingestion.parsers.docx_margins import margin_texts
from deployments.ingestion.parsers.docx_numbering import Numbering, W, add_bullets
from deployments.ingestion.parsers.html import to_markdown
from deployments.ingestion.parsers.text import clean, first_heading, has_croatian_letters

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_TITLE = re.compile(rb"<dc:title[^>]*>([^<]*)</dc:title>")
_TEXT_PARTS = re.compile(r"word/(?:document\d*|footnotes|endnotes)\.xml")
_COMMENTS = re.compile(r"word/comments\.xml")
_HEADER = re.compile(r"word/header\d*\.xml")
_DEPTH = 2
"""Documents within one another that are read."""
_FOOTER = re.compile(r"word/footer\d*\.xml")


def parse_docx(data: bytes, inflation: int) -> ParsedDocument:
    """Headers and footers are at the beginning, once each, so that they are under no heading of the text."""
    left_out: Counter[Omission] = Counter()
    with opened(data, inflation, "DOCX"), zipfile.ZipFile(io.BytesIO(transitional(data))) as archive:
        title = _core_title(archive)
        left_out["comment"] += comments(archive, filter(_COMMENTS.fullmatch, archive.namelist()))
        page = _page(archive, inflation, left_out)
        margins = [*_margins(archive, _HEADER), *_margins(archive, _FOOTER)]
    text = to_markdown(page, left_out)
    whole = clean("\n\n".join([*dict.fromkeys(margins), text]))
    return ParsedDocument(title or first_heading(text), whole, left_out=left_out)


def _page(archive: zipfile.ZipFile, inflation: int, left_out: Counter[Omission], depth: int = 0) -> BeautifulSoup:
    """The document's body as HTML. `depth`: documents that it is within."""

    def inner(data: bytes) -> BeautifulSoup:
        if depth == _DEPTH:
            raise UnsupportedDocument("the DOCX has documents within documents, too deep to read")
        with opened(data, inflation, "DOCX"), zipfile.ZipFile(io.BytesIO(transitional(data))) as within:
            return _page(within, inflation, left_out, depth + 1)

    chunks = Chunks(archive, inner, left_out)
    html: str = mammoth.convert_to_html(
        io.BytesIO(_rewritten(archive, chunks, left_out)),
        style_map=_STYLES,
        convert_image=mammoth.images.img_element(_no_content),
        include_embedded_style_map=False,
    ).value
    page = BeautifulSoup(html, "lxml")
    chunks.put(page)
    return page


def _rewritten(archive: zipfile.ZipFile, chunks: Chunks, left_out: Counter[Omission]) -> bytes:
    """The document with what Word shows and mammoth leaves out written into its main parts, as far as it is text."""
    numbering, styles = _part(archive, "word/numbering.xml"), _part(archive, "word/styles.xml")
    changed: dict[str, etree._Element] = {}
    for name in filter(_TEXT_PARTS.fullmatch, archive.namelist()):
        if (body := _part(archive, name)) is not None:
            choose(body)
            write_word_art(body)
            left_out["object"] += take_out_objects(body)
            croatian = has_croatian_letters("".join(body.itertext()))
            targets = related(archive, name)
            chunks.mark(body, targets)
            left_out.update(write_drawings(body, partial(_related_part, archive, targets), croatian))
            left_out["deletion"] += sum(deleted.find(f".//{W}delText") is not None for deleted in body.iter(f"{W}del"))
            left_out["hidden_word"] += rewrite(body, Numbering(numbering, styles))
            changed[name] = body
    if numbering is not None:
        add_bullets(numbering)
        changed["word/numbering.xml"] = numbering
    return with_parts(archive, {name: etree.tostring(part, encoding="UTF-8") for name, part in changed.items()})


def _margins(archive: zipfile.ZipFile, names: re.Pattern[str]) -> list[str]:
    texts: list[str] = []
    for name in sorted(filter(names.fullmatch, archive.namelist())):
        if (part := _part(archive, name)) is not None:
            choose(part)
            write_word_art(part)
            texts += map(clean, margin_texts(part))
    return texts


def _part(archive: zipfile.ZipFile, name: str) -> etree._Element | None:
    return xml(archive.read(name)) if name in archive.namelist() else None


def _related_part(archive: zipfile.ZipFile, targets: Mapping[str, str], relation: str) -> etree._Element | None:
    return _part(archive, targets.get(relation, ""))


def _core_title(archive: zipfile.ZipFile) -> str:
    if "docProps/core.xml" not in archive.namelist():
        return ""
    found = _TITLE.search(archive.read("docProps/core.xml"))
    return clean(BeautifulSoup(found[1], "lxml").get_text()) if found else ""


def _no_content(picture: Any) -> dict[str, str]:
    """Of a picture, mammoth gives the text that stands for it."""
    return {}
