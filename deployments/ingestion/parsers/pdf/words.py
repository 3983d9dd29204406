"""Reads a page's words from PDFium: their characters, and where they stand once text runs from left to right.

PDFium decides where words end, and puts the letters of right-to-left scripts into reading order within a word.
"""

from __future__ import annotations

import ctypes
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.geometry import Box

_SPACES = frozenset((0x00, 0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x3000, *range(0x2000, 0x200B), 0x202F))
_HYPHENS = frozenset((0x02, 0xFFFE))
"""PDFium's marks for a hyphen at the end of a line."""
_ASCENT, _DESCENT = 0.75, 0.22
"""A line's height above and below its baseline, in sizes. Fonts' own figures differ too much to compare lines by."""
_SPLIT, _SIGN_SPLIT = 0.8, 0.12
"""Letters of one word are at most so many sizes apart. PDFium puts signs that stand a space away right beside
right-to-left letters, so those are in a word only if they touch it."""
_FIRST_HEBREW, _LAST_ARABIC = 0x0590, 0x08FF
_TURN = math.pi / 2


@dataclass(frozen=True, slots=True)
class Word:
    """`size` is the font's, in points on the page."""

    text: str
    box: Box
    size: float

    @classmethod
    def at(cls, text: str, left: float, right: float, baseline: float, size: float) -> Word:
        return cls(text, Box(left, baseline - _ASCENT * size, right, baseline + _DESCENT * size), size)


@dataclass(frozen=True, slots=True)
class PageWords:
    """`by_turn`: quarter turn → the words that run that way, in drawing order. 0 is upright text, 4 text at any other
    angle. Each turn's boxes are as if the page were turned so that the text is upright.

    `unknown` counts the characters whose fonts do not say which letters they are. They are in no word.
    """

    by_turn: dict[int, list[Word]]
    unknown: int


def read_words(textpage: Any) -> PageWords:
    reader = _Reader(textpage)
    by_turn: dict[int, list[Word]] = defaultdict(list)
    for turn, word in reader.words():
        by_turn[turn].append(word)
    return PageWords(by_turn, reader.unknown)


def _is_turned(before: int, code: int) -> bool:
    """Whether of two characters one is a right-to-left letter, and the other a sign."""
    return chr(before).isalnum() != chr(code).isalnum() and (
        _FIRST_HEBREW <= before <= _LAST_ARABIC or _FIRST_HEBREW <= code <= _LAST_ARABIC
    )


def turned(turn: int, left: float, bottom: float, right: float, top: float) -> Box:
    """A box of the page (y upwards) as `PageWords` has it for this turn."""
    match turn:
        case 1:  # downwards
            return Box(-top, -right, -bottom, -left)
        case 2:  # upside down
            return Box(-right, bottom, -left, top)
        case 3:  # upwards
            return Box(bottom, left, top, right)
        case _:
            return Box(left, -top, right, -bottom)


class _Reader:
    """The places that PDFium's functions write to, for one page."""

    def __init__(self, textpage: Any) -> None:
        self._page = textpage.raw
        self._count = textpage.count_chars()
        self._rectangle = pdfium.FS_RECTF()
        self._matrix = pdfium.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self.unknown = 0

    def words(self) -> Iterator[tuple[int, Word]]:
        """(turn, word) in drawing order."""
        code_of, box_of = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
        is_unknown = pdfium.FPDFText_HasUnicodeMapError
        page, rectangle = self._page, self._rectangle
        letters: list[int] = []
        turn, size = 0, 0.0
        start = end = baseline = 0.0  # of the word, along and across the direction of its text
        for index in range(self._count):
            code = code_of(page, index)
            if code in _SPACES:
                if letters:
                    yield turn, _word(letters, start, end, baseline, size)
                    letters = []
                continue
            if is_unknown(page, index) == 1:
                self.unknown += 1
                continue
            if not box_of(page, index, rectangle):
                continue
            if not letters:
                turn, size, baseline = self._place(index)
            left, right = self._along(turn)
            gap = max(left - end, start - right) if letters else 0.0
            if gap > _SIGN_SPLIT * size and (gap > _SPLIT * size or _is_turned(letters[-1], code)):
                yield turn, _word(letters, start, end, baseline, size)
                letters = []
                turn, size, baseline = self._place(index)
                left, right = self._along(turn)
            start, end = (min(start, left), max(end, right)) if letters else (left, right)
            letters.append(0x2D if code in _HYPHENS else code)
        if letters:
            yield turn, _word(letters, start, end, baseline, size)

    def _along(self, turn: int) -> tuple[float, float]:
        """Where the character in `_rectangle` begins and ends in the direction of its text."""
        rectangle = self._rectangle
        match turn:
            case 1:
                return -rectangle.top, -rectangle.bottom
            case 2:
                return -rectangle.right, -rectangle.left
            case 3:
                return rectangle.bottom, rectangle.top
            case _:
                return rectangle.left, rectangle.right

    def _place(self, index: int) -> tuple[int, float, float]:
        """(turn, size, baseline) of a character."""
        matrix = self._matrix
        pdfium.FPDFText_GetMatrix(self._page, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = abs(pdfium.FPDFText_GetFontSize(self._page, index)) * scale
        pdfium.FPDFText_GetCharOrigin(self._page, index, self._x, self._y)
        quarters = pdfium.FPDFText_GetCharAngle(self._page, index) / _TURN
        turn = round(quarters) % 4 if abs(quarters - round(quarters)) < 0.1 else 4
        x, y = self._x.value, self._y.value
        return turn, size or 1.0, {1: -x, 2: y, 3: x}.get(turn, -y)


def _word(letters: list[int], start: float, end: float, baseline: float, size: float) -> Word:
    # PDFium gives characters above U+FFFF in two halves.
    text = "".join(map(chr, letters)).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Word.at(text, start, end, baseline, size)
