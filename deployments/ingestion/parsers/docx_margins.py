"""Reads the headers and footers of a Word document's pages."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from deployments.ingestion.parsers.docx_numbering import W

_COUNTED = 3
"""A line with a field and at most so many words, such as "Stranica 3 od 7", counts pages."""


def margin_texts(part: etree._Element) -> Iterator[str]:
    """The paragraphs of a page header or footer, those of its text boxes too, without page numbers."""
    for paragraph in part.iter(f"{W}p"):
        in_field, has_field, texts = 0, False, list[str]()
        for element in paragraph.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}fldChar", f"{W}fldSimple"):
            if next(element.iterancestors(f"{W}p")) is not paragraph:
                continue  # a text box's
            name = etree.QName(element).localname
            if name == "fldChar":
                in_field += {"begin": 1, "end": -1}.get(element.get(f"{W}fldCharType", ""), 0)
            has_field = has_field or name.startswith("fld")
            if name in ("tab", "br"):
                texts.append(" ")
            elif name == "t" and not in_field and next(element.iterancestors(f"{W}fldSimple"), None) is None:
                texts.append(element.text or "")
        text = " ".join("".join(texts).split())
        if any(map(str.isalnum, text)) and not (has_field and len(text.split()) <= _COUNTED):
            yield text
