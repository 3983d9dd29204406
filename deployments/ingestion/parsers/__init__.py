"""Parses a document's bytes into Markdown.

Runs in a process of its own (`child.py`). A format's parser, and its libraries, are imported when the first document
of that format comes.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.media_types import detect
from deployments.ingestion.parsers.text import first_heading

__all__ = ["Limits", "parse"]


def parse(data: bytes, filename: str, media_type: str, limits: Limits) -> ParsedDocument:
    """Parse a document of a supported format.

    Raises UnsupportedDocument (unknown format, or another one than the name says), DocumentTooLarge (over a limit),
    BrokenDocument (damaged, encrypted, or without text).
    """
    document_format = detect(data, filename, media_type)
    try:
        match document_format:
            case "pdf":
                from deployments.ingestion.parsers.pdf import parse_pdf

                document = parse_pdf(data, limits)
            case "docx":
                from deployments.ingestion.parsers.docx import parse_docx

                document = parse_docx(data, limits.inflation)
            case "pptx":
                from deployments.ingestion.parsers.pptx import parse_pptx

                document = parse_pptx(data, limits)
            case "xlsx":
                from deployments.ingestion.parsers.xlsx import parse_xlsx

                document = parse_xlsx(data, limits)
            case "epub":
                from deployments.ingestion.parsers.epub import parse_epub

                document = parse_epub(data, limits)
            case "csv":
                from deployments.ingestion.parsers.delimited import parse_delimited

                document = parse_delimited(data, limits.text_characters)
            case "email":
                from deployments.ingestion.parsers.eml import parse_email

                document = parse_email(data, limits)
            case "html":
                from deployments.ingestion.parsers.html import parse_html

                document = parse_html(data)
            case "markdown":
                from deployments.ingestion.parsers.markdown import parse_markdown

                document = parse_markdown(data)
            case "text":
                from deployments.ingestion.parsers.text import parse_text

                document = parse_text(data)
    except RecursionError:
        raise BrokenDocument("the document's elements are nested too deeply; save it again in a simpler form") from None
    if len(document.text) > limits.text_characters:
        raise DocumentTooLarge(
            f"the document holds {len(document.text):,} characters of text, "
            f"the limit is {limits.text_characters:,}; split it"
        )
    if not any(map(str.isalnum, document.text)):
        if any(unicodedata.category(character) == "So" for character in document.text):
            raise BrokenDocument("the document holds only signs, such as emoji, and no letters or digits to search for")
        if document.left_out.get("frame"):
            raise BrokenDocument("the page only shows other pages in frames; send those pages")
        raise BrokenDocument(
            "the document holds no text; if it is in pictures, run text recognition (OCR) on them first"
        )
    return document if document.title else replace(document, title=first_heading(document.text))
