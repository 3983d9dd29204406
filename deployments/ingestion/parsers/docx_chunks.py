"""Files within a Word document that Word shows as part of its text. Some programs write all of a text so."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Mapping

from bs4 import BeautifulSoup
from bs4.element import Tag
from lxml import etree

from deployments.errors import BadInput
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.docx_numbering import W
from deployments.ingestion.parsers.html import page_body
from deployments.ingestion.parsers.media_types import detect
from deployments.ingestion.parsers.text import decode

_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MARK = "\ue0fe"
"""A code that stands for no letter."""
_CHUNKS = 1000
"""Chunks of one document that are read."""

ReadDocument = Callable[[bytes], Tag | BeautifulSoup]


class Chunks:
    """The chunks of a document: first marked in its body, then put in the places of the marks."""

    def __init__(self, archive: zipfile.ZipFile, read_document: ReadDocument, left_out: Counter[Omission]) -> None:
        """`read_document` reads another Word document, as HTML."""
        self._archive = archive
        self._read_document = read_document
        self._left_out = left_out
        self._read: list[Tag | BeautifulSoup] = []

    def mark(self, body: etree._Element, targets: Mapping[str, str]) -> None:
        """Change the tree in place. `targets`: relationship → the member of the archive that it names."""
        for element in [*body.iter(f"{W}altChunk")]:
            member = targets.get(element.get(_RELATION, ""), "")
            chunk = self._chunk(member) if member in self._archive.NameToInfo else None
            if chunk is None or len(self._read) >= _CHUNKS:
                self._left_out["object"] += 1
                continue
            paragraph = etree.Element(f"{W}p")
            text = etree.SubElement(etree.SubElement(paragraph, f"{W}r"), f"{W}t")
            text.text = f"{_MARK}{len(self._read)}{_MARK}"
            element.getparent().replace(element, paragraph)
            self._read.append(chunk)

    def put(self, page: BeautifulSoup) -> None:
        """Put the chunks into the HTML of the document."""
        if not self._read:
            return
        chunks = {f"{_MARK}{number}{_MARK}": chunk for number, chunk in enumerate(self._read)}
        for paragraph in page.find_all("p"):
            chunk = chunks.pop(paragraph.get_text(), None)
            if chunk is not None:
                chunk.name = "div"
                paragraph.replace_with(chunk)

    def _chunk(self, member: str) -> Tag | BeautifulSoup | None:
        """The chunk as HTML; None for one of a kind that is not read, or that is damaged."""
        content = self._archive.read(member)
        try:
            match detect(content, member, ""):
                case "html":
                    return page_body(content, self._left_out)
                case "docx":
                    return self._read_document(content)
                case "text":
                    page = Tag(name="div")
                    for line in decode(content).splitlines():
                        paragraph = Tag(name="p")
                        paragraph.string = line
                        page.append(paragraph)
                    return page
        except BadInput:
            pass
        return None
