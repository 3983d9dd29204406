"""Parses Markdown: as plain text, but for the front matter in YAML that may stand above it."""

from __future__ import annotations

import re

import yaml

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.text import clean, decode, prose

_FRONT_MATTER = re.compile(
    r"\ufeff?---[ \t]*\r?\n(.{0,65536}?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
"""It is no text of the document. What only looks like it, such as a text between two rules, is."""
_TITLE_KEYS = ("title", "naslov")


def parse_markdown(data: bytes) -> ParsedDocument:
    """The title is the front matter's, if that has one."""
    text = decode(data)
    block = _FRONT_MATTER.match(text)
    fields = _fields(block[1]) if block else None
    if block is None or fields is None:
        return ParsedDocument(title="", text=prose(text))
    texts = {str(name).casefold(): value for name, value in fields.items() if isinstance(value, str)}
    title = next((texts[key] for key in _TITLE_KEYS if key in texts), "")
    return ParsedDocument(title=clean(" ".join(title.split())), text=prose(text[block.end() :]))


def _fields(block: str) -> dict[object, object] | None:
    """The front matter's fields; None for a text that is no mapping in YAML."""
    try:
        fields = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None
