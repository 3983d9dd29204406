"""Parses Markdown: as plain text, but for the front matter that may stand above it."""

from __future__ import annotations

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers import front_matter
from deployments.ingestion.parsers.text import decode, left_out_of, prose


def parse_markdown(data: bytes) -> ParsedDocument:
    """The title is the front matter's, if that has one, and the metadata are its fields."""
    text = decode(data)
    above = front_matter.read(text)
    if above is None:
        return ParsedDocument(title="", text=prose(text), left_out=left_out_of(text))
    return ParsedDocument(
        title=above.title,
        text=prose(text[above.end :]),
        left_out={**left_out_of(text), "field": above.left_out},
        metadata=above.fields,
    )
