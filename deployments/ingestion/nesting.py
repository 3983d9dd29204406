"""Where Markdown is nested so deeply that a Markdown splitter would take minutes for a few pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_MARKS = 8
"""Most marks of quotes and list items before a line's text. A conflict mark of Git, in code, has seven."""
MAX_MARK_COLUMNS = 64
"""Columns in which those marks must end. A list item is at least two columns to the right of the item around it, so
lists are at most half as deep."""
_TAB_COLUMNS = 4
_MARK = re.compile(r">|(?:[-*+:]|\d{1,9}[.)])(?=[ \t]|$)|\[\^[^\]\s]+\]:", re.MULTILINE)
_LINE = re.compile(rf"^(?P<marks>(?:[ \t]*+(?:{_MARK.pattern}))++).*", re.MULTILINE)
_RULE = re.compile(r"([ \t>]*)([-*])(?:[ \t]*\2){2,}[ \t\r]*")


def parts_by_nesting(text: str, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it is deeply nested) of the parts of `text` from `begin` to `end`: at most three.

    The deep part goes from the first line that is nested beyond a bound to the last, so that lines which alternate
    make no part each.
    """
    part = text[begin:end]
    deep_begin = deep_end = end
    for line in _LINE.finditer(part):
        if _is_deep(line):
            deep_begin = min(deep_begin, begin + line.start())
            deep_end = begin + line.end()
    deep_end = text.find("\n", deep_end, end) + 1 or end
    for part_begin, part_end, is_deep in (
        (begin, deep_begin, False),
        (deep_begin, deep_end, True),
        (deep_end, end, False),
    ):
        if part_begin < part_end:
            yield part_begin, part_end, is_deep


def _is_deep(line: re.Match[str]) -> bool:
    marks = line["marks"]
    if len(marks) <= MAX_MARKS:
        return False
    if rule := _RULE.fullmatch(line[0]):  # its signs look like marks of list items
        marks = rule[1].rstrip()
    return len(marks.expandtabs(_TAB_COLUMNS)) > MAX_MARK_COLUMNS or len(_MARK.findall(marks)) > MAX_MARKS
