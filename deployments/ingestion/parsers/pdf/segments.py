"""Puts words that stand side by side into segments: the parts of lines between wide gaps.

A line of a column is one segment, and so is most cells' text.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.words import Word

WIDE_GAP = 1.0
"""A gap of so many sizes ends a segment. Justified text has gaps up to this wide."""
_OTHER_SIZE, _OTHER_SIZE_GAP = 0.85, 0.5
"""Words whose sizes differ by this factor are no justified text: a gap of so many sizes ends a segment."""
_SOFT_HYPHEN = "\u00ad"
"""Where it is shown, PDFium takes it for a line of its own."""
_TOUCHING = 0.15
_OVERLAP = 0.4
"""Words of a line may overlap by so many sizes, as where letters are kerned."""
_STRIP = 12.0
"""Height of the strips in which segments are looked for, in points."""
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_LAST_LETTERS = frozenset("ךםןףץةى")
"""Letters that stand only at the end of Hebrew and Arabic words."""
_SIGNS = ".,:;!?)]}\"'»”"
_OPENING, _CLOSING = "([{«", ")]}»"


@dataclass(frozen=True, slots=True)
class Segment:
    """Words of one line, in reading order. `size` is the font size of most of its letters. Pages count from 1.

    `bold`: all its words are, signs aside.
    """

    page: int
    text: str
    words: tuple[Word, ...]
    box: Box
    size: float
    right_to_left: bool
    bold: bool

    @property
    def first_word(self) -> float:
        """The width of the first word, in points."""
        return self.words[0].box.width


def segments(words: Iterable[Word], page: int) -> list[Segment]:
    """The segments of words that all run the same way, in no order."""
    words = sorted(words, key=lambda word: word.box.left)
    reach = max((word.box.height for word in words), default=0.0) / 2
    found: list[list[Word]] = []
    ends: dict[int, set[int]] = defaultdict(set)  # strip of the page → numbers of the segments that end in it
    for word in words:
        strips = range(_strip(word.box.middle - reach), _strip(word.box.middle + reach) + 1)
        fitting = [n for strip in strips for n in ends.get(strip, ()) if _fits(found[n][-1], word)]
        if fitting:
            number = min(fitting, key=lambda n: (abs(found[n][-1].box.bottom - word.box.bottom), n))
            ends[_strip(found[number][-1].box.middle)].remove(number)
            found[number].append(word)
        else:
            number = len(found)
            found.append([word])
        ends[_strip(word.box.middle)].add(number)
    return [segment_of(segment, page) for segment in found]


def _strip(y: float) -> int:
    return int(y // _STRIP)


def _fits(last: Word, word: Word) -> bool:
    """Whether a word goes on with a segment that ends with another."""
    gap = word.box.left - last.box.right
    size = max(word.size, last.size)
    wide = WIDE_GAP if min(word.size, last.size) > _OTHER_SIZE * size else _OTHER_SIZE_GAP
    return -_OVERLAP * size <= gap <= wide * size and last.box.shares_line(word.box)


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
    typed = any(word.typed for word in words)
    right_to_left = not typed and is_right_to_left(word.text for word in words)
    in_order = tuple(words if typed else _in_order(words, right_to_left))
    bold = any(word.bold for word in words) and all(word.bold or not _has_letters(word.text) for word in words)
    return Segment(page, _text(in_order, right_to_left, typed), in_order, box, size, right_to_left, bold)


def _has_letters(text: str) -> bool:
    return any(map(str.isalnum, text))


def _text(words: Sequence[Word], right_to_left: bool, typed: bool) -> str:
    """The text of words in reading order. Of right-to-left scripts, signs may be words beside those that they touch."""
    if not (right_to_left or typed):
        return " ".join([word.text for word in words]).replace(f" {_SOFT_HYPHEN}", _SOFT_HYPHEN)
    text = words[0].text
    for before, word in pairwise(words):
        # A sign may touch another word than the one that is read before it: the first of several Latin ones.
        touches = _touch(before, word) or (right_to_left and any(_ends_at(word, other) for other in words))
        text += word.text if touches else f" {word.text}"
    return _with_brackets(text)


def as_typed(words: Sequence[Word]) -> Sequence[Word]:
    """The words of a page, mended if its writer drew right-to-left scripts from left to right, as they are typed.

    PDFium turns each word's letters, and so those that some languages only have at the end of a word begin it.
    """
    begin = sum(word.text[0] in _LAST_LETTERS for word in words if len(word.text) > 1)
    end = sum(word.text.rstrip(_SIGNS)[-1:] in _LAST_LETTERS for word in words if len(word.text) > 1)
    if begin <= end:
        return words
    return [
        replace(
            word, text=word.text[::-1].translate(_MIRRORED) if is_right_to_left([word.text]) else word.text, typed=True
        )
        for word in words
    ]


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
        if direction == right_to_left:
            ordered += run
            continue
        last = max((n for n, word in enumerate(run, start=1) if _has_letters(word.text)), default=0)
        ordered += [*reversed(run[:last]), *run[last:]]  # signs at its end belong to the words around it
    return ordered


def _touch(word: Word, other: Word) -> bool:
    """Whether a sign stands right beside a word."""
    gap = max(word.box.left - other.box.right, other.box.left - word.box.right)
    return (not _has_letters(word.text) or not _has_letters(other.text)) and gap < _TOUCHING * word.size


def _ends_at(sign: Word, word: Word) -> bool:
    """Whether a sign stands right on the left of a word, where right-to-left text goes on."""
    return not _has_letters(sign.text) and 0 <= word.box.left - sign.box.right + 0.1 < _TOUCHING * sign.size


def _with_brackets(text: str) -> str:
    """The text with brackets turned, if only so each is closed after it was opened.

    Writers disagree whether the character of a turned bracket is the one that is seen, and PDFium turns only some.
    """
    if _is_balanced(text):
        return text
    mirrored = text.translate(_MIRRORED)
    if _is_balanced(mirrored):
        return mirrored
    for opening, closing in zip(_OPENING, _CLOSING, strict=True):
        places = [place for place, character in enumerate(text) if character in (opening, closing)]
        if len(places) % 2 == 0:
            for number, place in enumerate(places):
                text = f"{text[:place]}{closing if number % 2 else opening}{text[place + 1 :]}"
    return text


def _is_balanced(text: str) -> bool:
    """Whether no bracket is closed before it was opened, and those that stay open are closed on another line."""
    depth = opened = 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        opened += character in _OPENING
        if depth < 0:
            return False
    return depth == 0 or opened == 1
