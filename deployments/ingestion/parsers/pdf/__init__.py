"""Parses PDF: what stands on its pages, in the order in which it is read, as headings, paragraphs and tables.

PDFium gives characters and their places. From these, page by page: words (`words`), tables with borders (`grids`),
lines without running heads (`segments`, `running`), columns (`columns`), tables without borders (`rows`). Then of the
whole document: paragraphs (`paragraphs`) and headings (`markdown`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_raw

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pages import page_offsets
from deployments.ingestion.parsers.pdf.continued import joined_tables
from deployments.ingestion.parsers.pdf.markdown import pieces
from deployments.ingestion.parsers.pdf.page import PageLayout, read_page
from deployments.ingestion.parsers.pdf.running import without_running_lines
from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean

_NO_TITLE = re.compile(r"\(anonymous\)|untitled\b.*|Microsoft \w+ - .*|.*\.(?:docx?|pdf|indd|tex)", re.IGNORECASE)


def parse_pdf(data: bytes, limits: Limits) -> ParsedDocument:
    """Raises BrokenDocument (damaged, encrypted, scanned), and DocumentTooLarge as soon as a limit is passed."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise BrokenDocument("the PDF is protected by a password; save it without one and send it again") from error
        raise BrokenDocument("the PDF is damaged or cut off; send a whole copy") from error
    try:
        limits.check_pages(len(document))
        if document.get_formtype() == pdfium_raw.FORMTYPE_XFA_FULL:
            raise BrokenDocument(
                "the PDF is a form of the kind XFA, which only Adobe's programs show; "
                "open it there, print it to a new PDF and send that"
            )
        document.init_forms()
        pages = [*_pages(document, limits.text_characters)]
        title = clean(document.get_metadata_dict().get("Title", ""))
        files = document.count_attachments()
    except pdfium.PdfiumError as error:
        raise BrokenDocument("a page of the PDF is damaged; print it to a new PDF and send that") from error
    finally:
        document.close()
    _check_text(pages)
    segments = without_running_lines([page.segments for page in pages])
    blocks = [block for page, kept in zip(pages, segments, strict=True) for block in page.blocks(kept)]
    written = [*pieces(joined_tables(blocks))]
    text = clean(mark_headings("\n\n".join(piece.markdown for piece in written)))
    return ParsedDocument(
        title="" if _NO_TITLE.fullmatch(title) else title,
        text=text,
        pages=page_offsets(((page, clean(part)) for piece in written for page, part in piece.parts), text),
        left_out={
            "page": sum(not page.has_text for page in pages),
            "character": sum(page.unknown_characters for page in pages),
            "hidden_word": sum(page.hidden_words for page in pages),
            "comment": sum(page.notes.comments for page in pages),
            # A picture that comes again, such as a letter-head's, counts once.
            "picture": len({picture for page in pages if page.has_text for picture in page.pictures})
            + sum(page.notes.stamps for page in pages),
            "object": files,
        },
    )


def _check_text(pages: Sequence[PageLayout]) -> None:
    """Raises BrokenDocument if there is no text, or none that can be read."""
    unreadable = sum(page.unknown_characters + page.private_characters for page in pages)
    if 2 * unreadable > sum(page.characters for page in pages):
        raise BrokenDocument(
            "the PDF's fonts do not say which letters their signs are; "
            "save it with its fonts' encoding, or run text recognition (OCR) on it first"
        )
    if not any(page.has_text for page in pages):
        raise BrokenDocument(
            f"the PDF has no text on any of its {len(pages)} pages, so it is probably a scan; "
            "run text recognition (OCR) on it first"
        )


def _pages(document: Any, text_characters: int) -> Iterator[PageLayout]:
    total = 0
    for number in range(len(document)):
        page = document[number]
        textpage = page.get_textpage()
        try:
            total += textpage.count_chars()
            if total > text_characters:
                raise DocumentTooLarge(f"the PDF holds more than {text_characters:,} characters of text; split it")
            yield read_page(page, textpage, document.formenv, number + 1)
        finally:
            textpage.close()
            page.close()
