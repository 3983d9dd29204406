"""Puts words that stand side by side into segments: the parts of lines between wide gaps.

A line of a column is one segment, and so is most cells' text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.words import Word

WIDE_GAP = 1.0
"""A gap of so many sizes ends a segment. Justified text has gaps up to this wide."""
_TOUCHING = 0.08
_OVERLAP = 0.4
"""Words of a line may overlap by so many sizes, as where letters are kerned."""
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_OPENING, _CLOSING = "([{«", ")]}»"


@dataclass(frozen=True, slots=True)
class Segment:
    """Words of one line, in reading order. `size` is the font size of most of its letters. Pages count from 1."""

    page: int
    words: tuple[Word, ...]
    box: Box
    size: float
    right_to_left: bool = False

    @property
    def text(self) -> str:
        if not self.right_to_left:
            return " ".join(word.text for word in self.words)
        text = self.words[0].text
        for before, word in pairwise(self.words):
            text += word.text if _touch(before, word) else f" {word.text}"
        return _with_brackets(text)

    @property
    def first_word(self) -> float:
        """The width of the first word, in points."""
        return self.words[0].box.width


def segments(words: Iterable[Word], page: int) -> list[Segment]:
    """The segments of words that all run the same way, in no order."""
    finished: list[list[Word]] = []
    open_segments: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.box.left):
        best: list[Word] | None = None
        for segment in open_segments:
            gap = word.box.left - _end(segment)
            largest = max(word.size, segment[-1].size)
            fits = -_OVERLAP * largest <= gap <= WIDE_GAP * largest and segment[-1].box.shares_line(word.box)
            if fits and (best is None or _distance(segment, word) < _distance(best, word)):
                best = segment
        if best is not None:
            best.append(word)
            continue
        still_open: list[list[Word]] = []
        for segment in open_segments:
            (still_open if word.box.left - _end(segment) < 4 * segment[-1].size else finished).append(segment)
        open_segments = [*still_open, [word]]
    return [segment_of(words, page) for words in (*finished, *open_segments)]


def segment_of(words: Sequence[Word], page: int) -> Segment:
    """One segment of all these words, sorted into reading order."""
    words = sorted(words, key=lambda word: word.box.left)
    letters: dict[float, int] = {}
    for word in words:
        size = round(word.size, 1)
        letters[size] = letters.get(size, 0) + len(word.text)
    size = max(letters, key=lambda size: (letters[size], size))
    of_size = [word.box for word in words if round(word.size, 1) == size]
    line = around(of_size)
    box = replace(around(word.box for word in words), top=line.top, bottom=line.bottom)
    right_to_left = is_right_to_left(word.text for word in words)
    return Segment(page, tuple(_in_order(words, right_to_left)), box, size, right_to_left)


def is_right_to_left(texts: Iterable[str]) -> bool:
    """Whether most letters are of a script that is written from right to left."""
    balance = 0
    for text in texts:
        if text.isascii():
            balance -= sum(map(str.isalpha, text))
            continue
        for character in text:
            direction = unicodedata.bidirectional(character)
            balance += (direction in ("R", "AL")) - (direction == "L")
    return balance > 0


def _end(segment: Sequence[Word]) -> float:
    return segment[-1].box.right


def _distance(segment: Sequence[Word], word: Word) -> float:
    return abs(segment[-1].box.bottom - word.box.bottom)


def _in_order(words: Sequence[Word], right_to_left: bool) -> list[Word]:
    """Words sorted from left to right, in the order in which they are read: the runs of the other direction turned."""
    if not right_to_left and all(word.text.isascii() or not is_right_to_left([word.text]) for word in words):
        return list(words)
    runs: list[tuple[bool, list[Word]]] = []  # (whether it runs from right to left, its words)
    for word in reversed(words) if right_to_left else words:
        letters = any(map(str.isalpha, word.text))
        direction = is_right_to_left([word.text]) if letters else (runs[-1][0] if runs else right_to_left)
        if runs and runs[-1][0] == direction:
            runs[-1][1].append(word)
        else:
            runs.append((direction, [word]))
    ordered: list[Word] = []
    for direction, run in runs:
        ordered += run if direction == right_to_left else reversed(run)
    return ordered


def _touch(word: Word, other: Word) -> bool:
    """Whether a sign stands right beside a word."""
    gap = max(word.box.left - other.box.right, other.box.left - word.box.right)
    is_sign = not any(map(str.isalnum, word.text)) or not any(map(str.isalnum, other.text))
    return is_sign and gap < _TOUCHING * word.size


def _with_brackets(text: str) -> str:
    """The text with its brackets turned, if only so each is closed after it was opened.

    Writers disagree whether the character of a turned bracket is the one that is seen.
    """
    depth = 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return text.translate(_MIRRORED)
    return text
