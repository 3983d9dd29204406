"""Takes apart lists that are written inside a sentence, as in statutes: "…ako je: 1. prvo 2. drugo".

An item makes sense only below the lines that open its list, and a list may be within another's item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.generation.references import ends_in_reference

_OPENING = re.compile(r":\s+(?=(?P<mark>[–−•‒-]|1[.)]|\(1\)|a\))\s)")
_AFTER_PUNCTUATION = "–-"
"""Dashes that also stand between words. These begin an item only after a punctuation mark."""
_LETTER = re.compile(r"(?<=\s)(?P<letter>[a-zčćđšž]|dž|lj|nj)\)\s")


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, or an item of a list in it. `openings` are the lines that open its lists, outermost first."""

    text: str
    openings: tuple[str, ...] = ()


def split_list(sentence: str) -> list[Part]:
    """The items of the sentence's list, each with the line that opens it; the sentence itself if it holds no list."""
    return [*_parts(sentence, ())]


def _parts(text: str, openings: tuple[str, ...]) -> Iterator[Part]:
    opening = _OPENING.search(text)
    starts = _item_starts(text, opening.end(), opening["mark"]) if opening else []
    if opening is None or len(starts) < 2:
        yield Part(text, openings)
        return
    within = (*openings, text[: opening.start() + 1])
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield from _parts(text[start:end].strip(), within)


def _item_starts(text: str, first: int, mark: str) -> list[int]:
    """Where the items begin, the first of which begins at `first` with `mark`."""
    if mark == "a)":
        return [first, *(match.start() for match in _LETTER.finditer(text, first + len(mark)))]
    if "1" in mark:
        return _numbered_starts(text, first, mark)
    before = r"(?<=[,;.])\s+" if mark in _AFTER_PUNCTUATION else r"\s+"
    marker = re.compile(rf"{before}(?={re.escape(mark)}\s)")
    return [first, *(match.end() for match in marker.finditer(text, first + 1))]


def _numbered_starts(text: str, first: int, mark: str) -> list[int]:
    """Items count up from 1. A number that belongs to a reference, as in "članka 2. stavka 1.", begins none."""
    starts = [first]
    while True:
        marker = re.compile(rf"(?<=\s){re.escape(mark.replace('1', str(len(starts) + 1)))}\s")
        position = starts[-1] + 1
        while (found := marker.search(text, position)) and ends_in_reference(text[: found.start()]):
            position = found.end()
        if not found:
            return starts
        starts.append(found.start())
