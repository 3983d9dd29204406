"""Parses plain text and Markdown: decodes and cleans them, and marks headings that only words show."""

from __future__ import annotations

import codecs
import re
import unicodedata
from contextlib import suppress

from charset_normalizer import from_bytes

from deployments.errors import UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.media_types import SUPPORTED
from deployments.ingestion.parsers.structure import mark_headings

_INVISIBLE = dict.fromkeys(
    (
        *(c for c in range(0x20) if c not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        0xAD,  # soft hyphen: inside a word it would hide the word from search
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
        0xFFFE,
        0xFFFF,
    )
)
_SPACES = {0xA0: " ", 0x2007: " ", 0x202F: " ", 0x2028: "\n", 0x2029: "\n\n"}
_ONLY_CP1250 = re.compile(rb"[\x80-\x9f]")
"""Bytes that are š, ž and quotation marks in windows-1250, but control characters in ISO-8859-2. In little else do the
two differ for Croatian, so guessing by letter frequencies confuses them."""
_UTF16_SAMPLE = 4096
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")
_NEWLINE = re.compile(r"\r\n?|\f|\v|\x85")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_GAP = re.compile(r"\n{3,}")


def parse_text(data: bytes) -> ParsedDocument:
    return ParsedDocument(title="", text=clean(mark_headings(clean(decode(data)))))


def decode(data: bytes) -> str:
    """The text in UTF-8 or UTF-16, else in windows-1250 or ISO-8859-2 if the result looks like language.

    UTF-16 needs a byte order mark, or mostly Latin letters. Raises UnsupportedDocument for bytes that are no text.
    """
    encoding = _utf16(data) or "utf-8-sig"
    if encoding == "utf-8-sig" and b"\0" in data:
        raise UnsupportedDocument(f"the document is named as text but its content is binary; supported are {SUPPORTED}")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-8-sig" and from_bytes(data, cp_isolation=["cp1250", "iso8859_2"]).best():
            with suppress(UnicodeDecodeError):
                return data.decode("cp1250" if _ONLY_CP1250.search(data) else "iso8859_2")
    raise UnsupportedDocument(
        "the document's text is in no known encoding (UTF-8, UTF-16, windows-1250, ISO-8859-2); save it as UTF-8"
    )


def decode_declared(data: bytes, declared: str) -> str:
    """The text in UTF-8 or UTF-16, else in the encoding that the document declares, else as `decode` finds it."""
    if not is_utf16(data):
        for encoding in filter(None, ("utf-8-sig", declared)):
            with suppress(LookupError, ValueError):
                return data.decode(encoding)
    return decode(data)


def is_utf16(data: bytes) -> bool:
    return _utf16(data) is not None


def _utf16(data: bytes) -> str | None:
    """The name of the UTF-16 encoding, or None for other bytes.

    It is known by the byte order mark, or by its zeros: Latin letters have one in every other byte.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = data[:_UTF16_SAMPLE]
    zeros = sample[0::2].count(0), sample[1::2].count(0)
    if len(data) % 2 or 3 * max(zeros) < len(sample) or 20 * min(zeros) > max(zeros):
        return None
    encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return None if _CONTROL.search(sample.decode(encoding, "replace")) else encoding


def clean(text: str) -> str:
    """NFC, `\\n` newlines, no invisible characters, no trailing spaces, at most one empty line in a row."""
    text = _NEWLINE.sub("\n", text).translate(_SPACES).translate(_INVISIBLE)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _GAP.sub("\n\n", _TRAILING.sub("", unicodedata.normalize("NFC", text))).strip()
