"""Parses plain text and Markdown: decodes and cleans them, and marks headings that only words show."""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from contextlib import suppress

from charset_normalizer import from_bytes

from deployments.errors import UnsupportedDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.hyphens import FOLLOWERS, WORD_CHARACTERS, compounds, keeps_hyphen
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
_OLD_ENCODINGS = ("cp1250", "iso8859_2", "cp852", "cp1252")
_ENCODING_SAMPLE = 200_000
_FRAME = re.compile(rb"\xc4{3}|\xcd{3}")
"""A line of a frame, as programs drew them in cp852: letters that no other encoding has three times in a row."""
_CROATIAN_LETTER = re.compile(r"(?<=[a-zčćđšž])[čćđšž]|[ČĆĐŠŽčćđšž](?=[a-zčćđšž])|(?<=[A-ZČĆĐŠŽ])[ČĆĐŠŽ]")
_CROATIAN_LETTERS = frozenset("čćđšžČĆĐŠŽ")
_ASCII_WORD = re.compile(rb"(?<![\w\x80-\xff])[a-z]{1,4}(?![\w\x80-\xff])")
_CROATIAN_WORDS = frozenset(b"i u na je se za od da su ne o iz po do ili koji kao uz bez".split())
_WESTERN_WORDS = frozenset(
    b"the of and to in is der die das und den mit ist von le la les des et est un une en el los las y que es del il di"
    b" che per con os as um uma com og det er att som och het van een".split()
)
_WESTERN_LETTERS = re.compile("[²ÀÂÅÆÇÉÊÏÑØàâåçéêïñø]".encode("cp1252"))
_CENTRAL_LETTERS = re.compile("[ŠŚŤŽŹšśťžźŁłĄąĽľČĆĐŐŘŮŰčćđőřůű]".encode("cp1250"))
"""Letters that tell windows-1252 from windows-1250 where no words do. Both have most others at the same places."""
_UTF16_SAMPLE = 4096
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that are no UTF-8, as the library keeps them within a text that is."""
_SEVEN_BIT = re.compile(r"iso2022|utf[-_]?7|hz")
"""Encodings that write all letters in bytes of ASCII. So their texts are UTF-8 too, and only what is declared tells."""
_WIDER = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-2": "cp1250", "iso8859-9": "cp1254"}
"""Encodings that programs declare for texts in those of Windows, as browsers take them. The bytes by which the two
differ are control characters otherwise."""
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")
_NEWLINE = re.compile(r"\r\n?|\f|\v|\x85")
_SOFT_BREAK = re.compile(r"\xad[ \t]*\n[ \t]*(?=\S)")
_LINE_END_HYPHEN = re.compile(rf"(?<=[^\W\d_])([^\W\d_])-\n[ \t]*(?!(?:{FOLLOWERS})\b)([^\W\d_]+)")
"""A hyphen at a line's end, unless a word follows that often comes after one: "drvo- i metaloprerada"."""
_CODE_FENCE = re.compile(r"^ {0,3}(`{3,}+(?!.*`)|~{3,})(.*)$", re.MULTILINE)
_DATA_PICTURE = re.compile(r"!\[([^\]\n]{0,100})\]\(\s*data:[^)\s!]*+(?:!(?!\[)[^)\s!]*+)*+(?:\s+\"[^\"\n]*\")?\s*\)")
"""An address ends where another picture begins: a text of many beginnings is read once, not from each of them."""
_DATA = r"data:[\w.+-]+/[\w.+-]+(?:;[\w.=+-]+)*,"
_DATA_URI = re.compile(
    rf"(?<=\"){_DATA}[^\"\n]{{32,}}(?=\")|(?<='){_DATA}[^'\n]{{32,}}(?=')"
    rf"|\b{_DATA}[\w+/=%.~-]{{32,}}(?:\n[\w+/=-]{{60,}})*(?:\n[\w+/=-]+(?=[\"')>]))?"
)
"""A file written out within the text: in quotation marks, without spaces, or in lines of base64. A short one may be an
example in a text about such addresses."""
_TRAILING = re.compile(r"(?<![ \t])[ \t]++$", re.MULTILINE)
"""A long gap within a line is tried at its beginning only."""
_LAST_WORD = re.compile(r"[^\W\d_]+\Z")
_GAP = re.compile(r"\n{3,}")


def parse_text(data: bytes) -> ParsedDocument:
    text = decode(data)
    return ParsedDocument(title="", text=prose(text), left_out=left_out_of(text))


def left_out_of(text: str) -> dict[Omission, int]:
    """The pictures that `clean` drops without a text in their place."""
    if "data:" not in text:
        return {}
    return {"picture": sum(not match[1].strip() for match in _DATA_PICTURE.finditer(text))}


def prose(text: str) -> str:
    """A text that was written by hand, as Markdown: words that lines cut are joined, and headings are marked."""
    return clean(mark_headings(_joined_words(clean(text))))


def _joined_words(text: str) -> str:
    """The text without the hyphens that only the ends of lines put into words. Compounds keep theirs, and code its
    lines."""
    if "-\n" not in text:
        return text
    known, code = compounds(text), _code_blocks(text)

    def joined(match: re.Match[str]) -> str:
        before, after = match[1], match[2]
        block = bisect_right(code, (match.start(), len(text))) - 1
        if block >= 0 and match.start() < code[block][1]:
            return match[0]
        start = max(match.start() - WORD_CHARACTERS, 0)
        head = _LAST_WORD.search(text, start, match.start() + 1)
        return f"{before}-{after}" if keeps_hyphen(head[0] if head else before, after, known) else before + after

    return _LINE_END_HYPHEN.sub(joined, text)


def _code_blocks(text: str) -> list[tuple[int, int]]:
    """(begin, end) of each block of code between fences, in order. A fence that nothing closes is a line of signs."""
    found: list[tuple[int, int]] = []
    open_fence: re.Match[str] | None = None
    for fence in _CODE_FENCE.finditer(text):
        if open_fence is None:
            open_fence = fence
        elif fence[1].startswith(open_fence[1]) and not fence[2].strip():
            found.append((open_fence.start(), fence.end()))
            open_fence = None
    return found


def has_croatian_letters(text: str) -> bool:
    """Whether a text has letters that English does not have and Croatian does."""
    return not _CROATIAN_LETTERS.isdisjoint(text)


def first_heading(text: str) -> str:
    """The heading that a text begins with; empty if it begins otherwise."""
    first = text.partition("\n")[0]
    return first.removeprefix("# ").strip() if first.startswith("# ") else ""


def decode(data: bytes) -> str:
    """The text in UTF-8 or UTF-16, else in an encoding from before Unicode if the result looks like language.

    UTF-16 needs a byte order mark, or mostly Latin letters. A text in UTF-8 may have some bytes in windows-1250, as
    pieces of other texts leave them. Raises UnsupportedDocument for bytes that are no text.
    """
    encoding = _utf16(data) or "utf-8-sig"
    if encoding == "utf-8-sig" and b"\0" in data:
        raise UnsupportedDocument(f"the document is named as text but its content is binary; supported are {SUPPORTED}")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-8-sig" and (mixed := _mostly_utf8(data)):
            return mixed
        if encoding == "utf-8-sig" and _FRAME.search(data[:_ENCODING_SAMPLE]):
            return data.decode("cp852")
        if encoding == "utf-8-sig" and from_bytes(data, cp_isolation=[*_OLD_ENCODINGS]).best():
            with suppress(UnicodeDecodeError):
                return data.decode(_old_encoding(data))
    raise UnsupportedDocument(
        "the document's text is in no known encoding (UTF-8, UTF-16, windows-1250, windows-1252, ISO-8859-2, cp852); "
        "save it as UTF-8"
    )


def _mostly_utf8(data: bytes) -> str:
    """A text in UTF-8 with other bytes in it, but fewer than letters beyond ASCII; empty for another."""
    text = data.decode("utf-8-sig", "surrogateescape")
    strange = sum(1 for _ in _NOT_UTF8.finditer(text))
    letters = len(text) - len(text.encode("ascii", "ignore")) - strange
    if strange >= letters:
        return ""
    return _NOT_UTF8.sub(lambda byte: bytes([ord(byte[0]) - 0xDC00]).decode("cp1250", "replace"), text)


def _old_encoding(data: bytes) -> str:
    """Which of the encodings from before Unicode a text is in: the one in which it is most like Croatian.

    windows-1252 has other letters in the places of č, ć and đ, so it is told by the words of the language, and where
    these tell nothing by letters that Croatian does not have.
    """
    if _count(_CROATIAN_LETTER, data, "cp852") > _count(_CROATIAN_LETTER, data, "cp1250"):
        return "cp852"
    sample = data[:_ENCODING_SAMPLE]
    words = Counter(_ASCII_WORD.findall(sample.lower()))
    western, croatian = (sum(words[word] for word in known) for known in (_WESTERN_WORDS, _CROATIAN_WORDS))
    if western == croatian:
        western, croatian = (len(letters.findall(sample)) for letters in (_WESTERN_LETTERS, _CENTRAL_LETTERS))
    if western > croatian:
        return "cp1252"
    return "cp1250" if _ONLY_CP1250.search(data) else "iso8859_2"


def _count(pattern: re.Pattern[str], data: bytes, encoding: str) -> int:
    return len(pattern.findall(data[:_ENCODING_SAMPLE].decode(encoding, "replace")))


def decode_declared(data: bytes, declared: str) -> str:
    """The text in UTF-8 or UTF-16, else in the encoding that the document declares, else as `decode` finds it."""
    if not is_utf16(data):
        name = _codec(declared)
        wider = _WIDER.get(name, "") if _ONLY_CP1250.search(data) else ""
        for encoding in filter(None, (name if _SEVEN_BIT.match(name) else "", "utf-8-sig", wider, name)):
            with suppress(LookupError, ValueError):
                return data.decode(encoding)
    return decode(data)


def _codec(encoding: str) -> str:
    """The library's name of an encoding; empty for one that it does not know."""
    try:
        return codecs.lookup(encoding).name if encoding else ""
    except (LookupError, ValueError):
        return ""


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
    """NFC, `\\n` newlines, no invisible characters, no files in `data:` addresses, no trailing spaces, at most one
    empty line in a row."""
    text = _SOFT_BREAK.sub("", _NEWLINE.sub("\n", text))
    if "data:" in text:
        text = _DATA_URI.sub("", _DATA_PICTURE.sub(r"\1", text))
    text = text.translate(_SPACES).translate(_INVISIBLE)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _GAP.sub("\n\n", _TRAILING.sub("", unicodedata.normalize("NFC", text))).strip()
