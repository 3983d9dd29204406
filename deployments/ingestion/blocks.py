"""The parts of a document's Markdown: sections below headings, tables and the text between them, and runs without
spaces.

Lines are found by what they begin with, without a look at each: a text may have ten million.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.ingestion.base import short_name

MAX_SECTIONS = 100_000
"""Most sections of a document. The last one goes on to the document's end, with the headings in it as text."""
TABLES, CHARACTERS_PER_TABLE = 100, 400
"""A section has at most `TABLES` tables, and one more for each so many characters. Further ones are text."""
_HEADING_OR_FENCE = re.compile(r"^ {0,3}(?:(#{1,6})[ \t]|(?P<fence>`{3,}+(?!.*`)|~{3,})).*", re.MULTILINE)
_RULE_OR_FENCE = re.compile(
    r"^ {0,3}(?:\|(?:[ \t]*+:?-++:?[ \t]*+\|)++[ \t\r]*+$|(?P<fence>`{3,}+(?!.*`)|~{3,}).*)", re.MULTILINE
)
_ROW = re.compile(r" {0,3}\|.*")
_ROWS = re.compile(rf"(?:{_ROW.pattern}\n?)*+")
_NOT_BLANK = re.compile(r"\S")
_UNBROKEN_CHARACTERS = 8_000
"""Longest text without a space, or without a letter, that is split as one. The splitter's time grows with the square
of its length."""
_UNBROKEN = re.compile(rf"(?<!\S)\S{{{_UNBROKEN_CHARACTERS + 1},}}|(?<![\W\d_])[\W\d_]{{{_UNBROKEN_CHARACTERS + 1},}}")
_NEAR_CUT = 200
"""Characters before a cut among which a space is looked for."""


@dataclass(frozen=True, slots=True)
class Section:
    """One heading, or several in a row, and the text below them.

    `start` is the section's offset in the document, `body` the offset of the text below in `text`. `headings` are
    those that the text is under, outermost first.
    """

    start: int
    text: str
    body: int
    headings: tuple[str, ...]


def sections(text: str) -> Iterator[Section]:
    """At most `MAX_SECTIONS`, which make up the text."""
    start = head_end = found = 0
    path: list[tuple[int, str]] = []  # (level, heading) of the headings that a line is under
    for heading in _outside_fences(_HEADING_OR_FENCE, text, 0):
        if body := _NOT_BLANK.search(text, head_end, heading.start()):
            yield _section(text, start, heading.start(), _line_begin(text, head_end, body.start()), path)
            start, found = heading.start(), found + 1
        level = len(heading[1])
        name = heading[0][heading.end(1) - heading.start() :].strip(" \t\r").rstrip("#").rstrip(" \t")
        path = [*((outer_level, name) for outer_level, name in path if outer_level < level), (level, short_name(name))]
        head_end = heading.end()
        if found == MAX_SECTIONS - 1:
            break
    if text:
        body = _NOT_BLANK.search(text, head_end)
        body_begin = _line_begin(text, head_end, body.start()) if body else len(text)
        yield _section(text, start, len(text), body_begin, path)


def _section(text: str, start: int, end: int, body: int, path: list[tuple[int, str]]) -> Section:
    return Section(start, text[start:end], body - start, tuple(name for _, name in path if name))


def _line_begin(text: str, begin: int, at: int) -> int:
    """Where the line of the character `at` begins, if not before `begin`."""
    return max(begin, text.rfind("\n", begin, at) + 1)


def _outside_fences(pattern: re.Pattern[str], text: str, start: int) -> Iterator[re.Match[str]]:
    """The lines that match the pattern and are in no block of code, from `start` on. The pattern matches `fence`."""
    fence = ""
    for line in pattern.finditer(text, start):
        if mark := line["fence"]:
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not line[0].strip(" \t\r").strip(mark[0]):
                fence = ""
        elif not fence:
            yield line


def blocks(text: str, start: int) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it is a table) of each table in `text` from `start` on, and of the text between them."""
    end = start  # of the block before
    tables_left = TABLES + (len(text) - start) // CHARACTERS_PER_TABLE
    for rule in _outside_fences(_RULE_OR_FENCE, text, start):
        header = _line_begin(text, start, rule.start() - 1) if rule.start() > start else rule.start()
        if not end <= header < rule.start() or not _ROW.match(text, header):
            continue
        if not tables_left:
            break
        if header > end:
            yield end, header, False
        rows = _ROWS.match(text, header)
        end = rows.end() if rows else rule.end()
        yield header, end, True
        tables_left -= 1
    if end < len(text):
        yield end, len(text), False


def unbroken_parts(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the parts of a text that are split by themselves: all of it, if it has spaces."""
    for unbroken in _UNBROKEN.finditer(text, begin, end):
        cut = unbroken.start() + _UNBROKEN_CHARACTERS
        while cut < unbroken.end():
            cut = near_space(text, cut)
            yield begin, cut
            begin, cut = cut, cut + _UNBROKEN_CHARACTERS
    if begin < end:
        yield begin, end


def near_space(text: str, cut: int) -> int:
    """The place after the last line's end, or the last space, shortly before `cut`; `cut` if there is none."""
    spaces = (text.rfind(space, max(cut - _NEAR_CUT, 0), cut) for space in "\n ")
    return next((space + 1 for space in spaces if space >= 0), cut)
