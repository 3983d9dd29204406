"""Finds where pages begin in a text that was cleaned after the pages were joined.

Cleaning changes spaces and signs, but no letter or digit. So a page's beginning is found by counting the letters and
digits before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

_LETTERS = re.compile(r"[^\W_]+")


def page_offsets(parts: Iterable[tuple[int, str]], text: str) -> tuple[tuple[int, int], ...]:
    """(offset in `text`, page number) of each page's beginning, in order.

    `parts`: (page number, clean text) of all that `text` was made of, in order. A page begins right after the last
    letter of the page before, so the `#` of its first heading belongs to it. Pages without letters are left out.
    """
    starts: dict[int, int] = {}  # letters before a page → the page
    letters, current = 0, None
    for page, part in parts:
        if page != current:
            starts[letters] = current = page
        letters += sum(len(match[0]) for match in _LETTERS.finditer(part))
    waiting = deque(starts.items())
    offsets: list[tuple[int, int]] = []
    letters_passed = end = 0
    for match in _LETTERS.finditer(text):
        length = len(match[0])
        while waiting and waiting[0][0] < letters_passed + length:
            before, page = waiting.popleft()
            offset = match.start() + before - letters_passed if before > letters_passed else end
            offsets.append((offset, page))
        letters_passed, end = letters_passed + length, match.end()
    return tuple(offsets)
