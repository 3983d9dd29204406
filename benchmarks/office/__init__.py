"""Office documents, e-mails, web pages and books whose text is known, in Croatian."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.office import books, docx_objects, docx_texts, mails, slides, webpages, workbooks
from benchmarks.office.seen import Document

_MODULES = (docx_texts, docx_objects, workbooks, slides, mails, webpages, books)


def documents() -> Iterator[Document]:
    """The same documents each time."""
    for module in _MODULES:
        yield from module.documents()
