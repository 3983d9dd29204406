"""Splits a passage into sentences that can be quoted: Croatian and English, plain text, Markdown and statutes.

A full stop does not always end a sentence. In Croatian it also follows every ordinal (15. dana, 27. travnja 2016.,
članak 5.) and many abbreviations. In doubt the sentence goes on: a quotation that is too long is still true, one that
stops half-way may not be.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.generation.lists import split_list
from deployments.generation.references import ends_in_reference
from deployments.types import Language


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` has no markup and single spaces only. `heading` is the nearest heading above it, or empty.

    `openings` are the lines that open the lists that it is an item of, outermost first; a table's row has its header.
    """

    text: str
    heading: str
    openings: tuple[str, ...] = ()


def split_sentences(text: str, language: Language) -> list[Sentence]:
    """The sentences of a passage in reading order. A list item or table row is a sentence, a heading is not."""
    sentences: list[Sentence] = []
    heading = opening = ""
    for block in _blocks(text):
        if block.is_heading:
            heading, opening = block.text, ""
            continue
        openings = (opening,) if block.is_item and opening else ()
        for sentence in _split(block.text, language):
            sentences.extend(Sentence(part.text, heading, (*openings, *part.openings)) for part in split_list(sentence))
        if not block.is_item:
            last = sentences[-1].text if sentences else ""
            opening = last if block.is_header or last.endswith(":") else ""
    return sentences


def plain(text: str) -> str:
    """Text without inline Markdown and with single spaces.

    Bracketed numbers are removed too. They are references of the passage, but in an answer [n] cites passage n.
    """
    for pattern, kept in _INLINE_MARKUP:
        text = pattern.sub(kept, text)
    # Repeated until nothing changes: else [1[2]] would leave a reference behind.
    while (without := _REFERENCE_NUMBER.sub("", text)) != text:
        text = without
    return " ".join(text.split())


_INLINE_MARKUP = [
    (re.compile(r"!?\[([^\[\]]*[^\W\d][^\[\]]*)\]\([^()\s]*\)"), r"\1"),  # links and images
    (re.compile(r"(?<![\w*\\])(\*{1,3})(?=\S)([^*]+?)(?<=[^\s\\])\1(?![\w*])"), r"\2"),
    (re.compile(r"(?<![\w_\\])(_{1,3})(?=\S)([^_]+?)(?<=[^\s\\])\1(?![\w_])"), r"\2"),
    (re.compile(r"`+([^`]+)`+"), r"\1"),
]
_REFERENCE_NUMBER = re.compile(r"\s*\[[\s^]*\d+(?:\s*[,–-]\s*\d+)*\s*\](?:\([^()\s]*\))?")


@dataclass(frozen=True, slots=True)
class _Block:
    """`is_item`: of a list, or a row below a table's header. `is_header`: a table's."""

    text: str
    is_heading: bool = False
    is_item: bool = False
    is_header: bool = False


_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_LIST_ITEM = re.compile(r"\s*[-*+•]\s+(.*)")
_NUMBERED_ITEM = re.compile(r"\s*(\d{1,3})[.)]\s+\S")
_QUOTE = re.compile(r"^\s{0,3}(?:>\s?)+")
"""Markdown's quotation marks. Anywhere else in a line `>` means "more than"."""
_MORE_THAN = re.compile(r"\s{0,3}>\s?\d")
_TABLE_ROW = re.compile(r"\s*\|(.*)\|\s*$")
_ARTICLE_LINE = re.compile(r"\s*\W{0,3}(?:članak|article|§)\s*\d{1,4}\s?[a-z]?\W{0,4}$", re.IGNORECASE)


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs with their soft line breaks undone, list items, table rows and headings."""
    paragraph_lines: list[str] = []
    is_item = False

    def paragraph() -> Iterator[_Block]:
        joined = plain(" ".join(paragraph_lines))
        paragraph_lines.clear()
        if joined:
            yield _Block(joined, is_item=is_item)

    lines = [*_without_quotation_marks(_without_code(text))]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        heading, item, row = _HEADING.match(line), _LIST_ITEM.match(line), _TABLE_ROW.match(line)
        if not line.strip() or _is_rule(line):
            yield from paragraph()
            is_item = False
        elif heading or _is_article_line(line):
            yield from paragraph()
            is_item = False
            yield _Block(plain(heading[1] if heading else line), is_heading=True)
        elif row:
            yield from paragraph()
            cells = plain(" | ".join(filter(None, (cell.strip() for cell in row[1].split("|")))))
            is_header = _is_rule(following)
            if cells:
                yield _Block(cells, is_item=not is_header, is_header=is_header)
        elif item or _is_numbered_item(line, paragraph_lines):
            yield from paragraph()
            is_item = True
            paragraph_lines.append(item[1] if item else line)
        else:
            paragraph_lines.append(line)
    yield from paragraph()


def _without_code(text: str) -> list[str]:
    """The lines outside of fenced and indented code; an empty line stands for the code.

    The last fence of an odd number is ignored: its partner may be in the next chunk.
    """
    lines = textwrap.dedent(text).splitlines()
    fences = [index for index, line in enumerate(lines) if line.lstrip().startswith(("```", "~~~"))]
    if len(fences) % 2:
        lines[fences.pop()] = ""
    for first, last in zip(fences[::2], fences[1::2], strict=True):
        lines[first : last + 1] = [""] * (last + 1 - first)

    kept: list[str] = []
    for has_text, block in itertools.groupby(lines, key=lambda line: bool(line.strip())):
        block_lines = list(block)
        is_code = has_text and all(line.startswith(("    ", "\t")) for line in block_lines)
        kept.extend([""] if is_code and not _LIST_ITEM.match(block_lines[0]) else block_lines)
    return kept


def _without_quotation_marks(lines: Sequence[str]) -> Iterator[str]:
    """The lines without Markdown's marks. Where a number follows each one in a row, `>` means "more than"."""
    for is_marked, group in itertools.groupby(lines, key=lambda line: _QUOTE.match(line) is not None):
        row = [*group]
        is_quoted = is_marked and not all(map(_MORE_THAN.match, row))
        yield from (_QUOTE.sub("", line, count=1) for line in row) if is_quoted else row


def _is_article_line(line: str) -> bool:
    """Whether a line holds nothing but an article's number: a heading, in texts that mark none."""
    return _ARTICLE_LINE.match(line) is not None


def _is_rule(line: str) -> bool:
    """A horizontal rule, or the line under a table's header."""
    stripped = line.strip()
    return len(stripped) >= 3 and set(stripped) <= set("-*_=|:+ ")


def _is_numbered_item(line: str, before: list[str]) -> bool:
    """Whether a line's first number numbers an item. It may also belong to a sentence wrapped from the line before."""
    number = _NUMBERED_ITEM.match(line)
    if number is None:
        return False
    if not before or before[-1].rstrip().endswith((".", ":", ";", "!", "?", ",")):
        return True
    last_item = _NUMBERED_ITEM.match(before[0])
    return last_item is not None and int(number[1]) == int(last_item[1]) + 1


_BOUNDARY = re.compile(r"(?P<end>[.!?…]+)(?P<close>[»”“\"’')\]]*)\s+(?=(?P<next>\S+))")
_OPENING = "«„“\"‘'([–—-"
_LAW_PARAGRAPH = re.compile(r"\(\d{1,3}[a-z]?\)$")
_LIST_NUMBER = re.compile(r"\d{1,3}[.)]$")
_LOOK_BACK = 100
"""Characters before a full stop that are looked at to decide what it means."""
_LAST_WORD = re.compile(r"([^\s(\[„“\"'«]+)$")

_NEVER_END = frozenset(
    re.findall(
        r"\S+",
        """
        al bl br čl dipl doc dr gđa god gđ hrv ing inž jr kbr mil min mjes npr odn prof red sc sj spec st str sv tab
        tj toč tč tel tzv ul usp vel vl vlč zak zv
        art arts cf ch eg e.g fig i.e ie mr mrs ms no nos para paras pp rev sec sect sr vs vol
        """,
    )
)
"""Abbreviations that never end a sentence: references, titles, "for example"."""

_MAY_END = frozenset(re.findall(r"\S+", "d.o.o d.d j.d.o.o itd sl dr etc inc ltd co corp a.m p.m i.dr u.s u.k e.u n.n"))
"""Abbreviations that end a sentence when a capital letter follows."""

_YEAR = re.compile(r"(?:1[5-9]|20)\d\d$")
_ROMAN = re.compile(r"[IVXLC]+$")


def sentence_starts(text: str, language: Language) -> Iterator[int]:
    """The offsets at which the second sentence of a text and each further one begin. Line breaks mean nothing here."""
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _ends(text, start, match, language):
            start = match.end()
            yield start


def _split(text: str, language: Language) -> Iterator[str]:
    start = 0
    for following in sentence_starts(text, language):
        yield text[start:following].strip()
        start = following
    rest = text[start:].strip()
    if rest and not (start and _is_stray_heading(rest)):
        yield rest


def _is_stray_heading(rest: str) -> bool:
    """Whether the rest is the next section's heading, as in statutes: a few words without a full stop."""
    return not rest.endswith((".", "!", "?", "…", ";")) and len(rest.split()) <= 8 and not re.search(r"\d", rest)


def _ends(text: str, start: int, match: re.Match[str], language: Language) -> bool:
    """Whether the boundary at `match` ends the sentence that begins at `start`."""
    following = match["next"]
    opened = following.lstrip(_OPENING)
    if _LAW_PARAGRAPH.match(following):
        return True
    starts_new = opened[:1].isupper() or opened[:1].isdigit()
    if not starts_new:
        return False
    if match["end"] != ".":
        # "..." and "?" inside a sentence are followed by a small letter.
        return True

    words = text[max(start, match.start() - _LOOK_BACK) : match.start()].split()
    if not words:
        return False
    last = _LAST_WORD.search(words[-1])
    word = last[1] if last else words[-1]
    before = words[-2] if len(words) > 1 else ""
    lowered = word.lower()
    if lowered in _MAY_END:
        # "i dr." closes an enumeration; "dr. Horvat" is a title.
        return opened[:1].isupper() and (lowered != "dr" or before.lower() == "i")
    if lowered in _NEVER_END or (len(word) == 1 and word.isalpha()):
        return False
    if word.isdigit():
        return _number_ends(word, before, opened, language)
    if _ROMAN.match(word) and language == "hr":
        return False
    return opened[:1].isupper() or (opened[:1].isdigit() and not match["close"])


def _number_ends(number: str, before: str, following: str, language: Language) -> bool:
    """Whether the full stop after a number ends the sentence. Else it makes an ordinal, a date or a list number."""
    if not before or following[:1].isdigit() or ends_in_reference(before):
        return False
    if language == "en":
        return True
    return _YEAR.match(number) is not None and not before[-1:].isdigit()
