"""Reads headers of e-mail, also those with bytes for which no encoding is declared, or a wrong one."""

from __future__ import annotations

from contextlib import suppress
from email.header import decode_header
from email.message import MIMEPart

from deployments.errors import UnsupportedDocument
from deployments.ingestion.parsers.text import decode_declared

_OF_FILE_NAMES = ("Content-Disposition", "Content-Type")


def line(part: MIMEPart, name: str) -> str:
    """A header's value on one line; empty if there is none."""
    raw = _raw(part, name)
    text = _decoded(_bytes(raw)) if _has_bytes(raw) else str(part.get(name, ""))
    if "\ufffd" in text and not _has_bytes(raw):  # an encoding that is unknown, or not the one of the word
        with suppress(ValueError):
            words = decode_header(raw)
            text = "".join(_decoded(word, of) if isinstance(word, bytes) else word for word, of in words)
    return " ".join(text.split())


def decode_file_name(part: MIMEPart) -> None:
    """Make the name of a file text, so that `get_filename` gives it."""
    for name in _OF_FILE_NAMES:
        if _has_bytes(_raw(part, name)):
            part.replace_header(name, line(part, name))


def _raw(part: MIMEPart, name: str) -> str:
    return next((str(value) for key, value in part.raw_items() if key.lower() == name.lower()), "")


def _has_bytes(raw: str) -> bool:
    """Whether the library has kept bytes as they are, as halves of surrogate pairs."""
    return any("\udc80" <= character <= "\udcff" for character in raw)


def _bytes(raw: str) -> bytes:
    return raw.encode("utf-8", "surrogateescape")


def _decoded(data: bytes, declared: str | None = None) -> str:
    try:
        return decode_declared(data, declared or "")
    except UnsupportedDocument:
        return data.decode("utf-8", "replace")
