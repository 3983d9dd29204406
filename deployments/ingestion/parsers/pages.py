"""Where pages begin in a text that was cleaned and marked after their pieces were put together.

That changes spaces and signs but no letter or digit, so a page's beginning is known by how many come before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

_LETTERS = re.compile(r"[^\W_]+")


def page_offsets(pieces: Iterable[tuple[int, str]], text: str) -> tuple[tuple[int, int], ...]:
    """(offset in `text`, page) where each page begins, from (page, clean text) of all that went into it, in order.

    A page begins right behind the last letter before it, so that the signs of its first heading are its own.
    Pages without letters are left out.
    """
    starts: dict[int, int] = {}  # letters before → page
    letters, current = 0, None
    for page, piece in pieces:
        if page != current:
            starts[letters] = current = page
        letters += sum(len(match[0]) for match in _LETTERS.finditer(piece))
    waiting = deque(starts.items())
    offsets: list[tuple[int, int]] = []
    passed = end = 0
    for match in _LETTERS.finditer(text):
        length = len(match[0])
        while waiting and waiting[0][0] < passed + length:
            before, page = waiting.popleft()
            offsets.append((match.start() + before - passed if before > passed else end, page))
        passed, end = passed + length, match.end()
    return tuple(offsets)
