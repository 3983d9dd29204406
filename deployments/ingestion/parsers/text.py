"""Plain text and Markdown: encoding, clean-up, and the structure that a plain text shows."""

from __future__ import annotations

import codecs
import re
import unicodedata
from contextlib import suppress

from charset_normalizer import from_bytes

from deployments.errors import UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.kinds import SUPPORTED
from deployments.ingestion.parsers.structure import mark_headings

_INVISIBLE = dict.fromkeys(
    (
        *(c for c in range(0x20) if c not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        0xAD,  # soft hyphen: typography, and inside a word it hides the word from search
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
"""Here windows-1250 has š, ž and quotation marks, ISO-8859-2 control characters; its š and ž are ą and ľ there. The
two differ in little else that Croatian uses, which is why guessing by letter frequency confuses them."""
_NEWLINE = re.compile(r"\r\n?|\f|\v|\x85")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_GAP = re.compile(r"\n{3,}")


def parse_text(data: bytes, *, markdown: bool) -> ParsedDocument:
    text = clean(decode(data))
    if not markdown:
        text = clean(mark_headings(text))
    return ParsedDocument(title="", text=text)


def decode(data: bytes) -> str:
    """UTF-8, UTF-16 with a byte order mark, else windows-1250 or ISO-8859-2, if they read as language.

    Raises UnsupportedDocument for bytes that are no text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data:
        raise UnsupportedDocument(f"the document is named as text but its content is binary; supported are {SUPPORTED}")
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-16" and from_bytes(data, cp_isolation=["cp1250", "iso8859_2"]).best():
            with suppress(UnicodeDecodeError):
                return data.decode("cp1250" if _ONLY_CP1250.search(data) else "iso8859_2")
    raise UnsupportedDocument(
        "the document's text is in no known encoding (UTF-8, UTF-16, windows-1250, ISO-8859-2); save it as UTF-8"
    )


def clean(text: str) -> str:
    """NFC, `\\n` newlines, no invisible characters, no trailing spaces, at most one empty line in a row."""
    text = _NEWLINE.sub("\n", text).translate(_SPACES).translate(_INVISIBLE)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _GAP.sub("\n\n", _TRAILING.sub("", unicodedata.normalize("NFC", text))).strip()
