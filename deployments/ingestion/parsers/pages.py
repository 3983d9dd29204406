"""Finds where pages begin in a text that was cleaned after the pages were joined.

Cleaning changes spaces and signs, but no letter or digit. So a page's beginning is found by counting the letters and
digits before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

_LETTERS_AND_DIGITS = re.compile(r"[^\W_]+")


def page_offsets(parts: Iterable[tuple[int, str]], text: str) -> tuple[tuple[int, int], ...]:
    """(offset in `text`, page number) of each page's beginning, in order.

    `parts`: (page number, clean text) of all that `text` was made of, in order. A page begins right after the last
    letter or digit of the page before, so the `#` of its first heading belongs to it. Pages that have neither are left
    out.
    """
    starts: dict[int, int] = {}  # letters and digits before a page → the page
    counted, current = 0, None
    for page, part in parts:
        if page != current:
            starts[counted] = current = page
        counted += sum(len(match[0]) for match in _LETTERS_AND_DIGITS.finditer(part))
    waiting = deque(starts.items())
    offsets: list[tuple[int, int]] = []
    passed = end = 0
    for word in _LETTERS_AND_DIGITS.finditer(text):
        length = len(word[0])
        while waiting and waiting[0][0] < passed + length:
            before, page = waiting.popleft()
            begins_inside = before > passed  # the pages were joined without a space
            offsets.append((word.start() + before - passed if begins_inside else end, page))
        passed, end = passed + length, word.end()
    return tuple(offsets)
