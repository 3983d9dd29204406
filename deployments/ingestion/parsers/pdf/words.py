"""Reads a page's words from PDFium: their characters, and where they stand once text runs from left to right.

PDFium decides where words end, and puts the letters of right-to-left scripts into reading order within a word.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from deployments.ingestion.parsers.pdf.geometry import Box
from deployments.ingestion.parsers.raised import raised

_SPACES = frozenset((0x00, 0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x3000, *range(0x2000, 0x200B), 0x202F))
_BREAKS = frozenset((0x0A, 0x0D))
"""PDFium's ends of lines. Between letters that are drawn one by one they mean nothing on some pages: it takes those
whose columns are narrow and whose rows are close for vertical text."""
_HYPHENS = frozenset((0x02, 0xFFFE))
"""PDFium's marks for a hyphen at the end of a line."""
_PRIVATE = range(0xE000, 0xF900)
"""Codes that stand for no letter. Fonts give them to bullets, and fonts without a usable encoding to all letters."""
_ASCENT, _DESCENT = 0.75, 0.22
"""A line's height above and below its baseline, in sizes. Fonts' own figures differ too much to compare lines by."""
_SPLIT, _SIGN_SPLIT = 0.8, 0.12
"""Letters of one word are at most so many sizes apart. PDFium puts signs that stand a space away right beside
right-to-left letters, so those are in a word only if they touch it."""
_TOUCHING, _KERNED = 0.15, 0.4
"""A letter goes on with a word across a break if it is at most so many sizes apart, or overlaps by no more."""
_SAME_LINE = 0.1
_FIRST_HEBREW, _LAST_ARABIC = 0x0590, 0x08FF
_DIGITS = frozenset(range(0x30, 0x3A))
_ALIKE = 0.85
"""Letters of a word have heights and sizes that differ by less than this factor."""
_RAISED_BY = 0.12
_TURN = math.pi / 2
_BOLD = re.compile(rb"bold|black|heavy|demi|cmb|sfbx|ecbx", re.IGNORECASE)
"""In the name of a bold font; the last ones are TeX's."""
_FORCE_BOLD = 1 << 18
"""A flag of fonts that are to be drawn bold."""
_FONT_NAME_BYTES = 256
_OUTLINED, _WITHOUT_INK = (1, 2, 5, 6), (3, 7)
"""Text rendering modes. 7 only cuts out of what is drawn over the letters."""


Colour = tuple[int, int, int]
"""Red, green and blue, up to 255."""
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Style:
    """How a word is drawn: its quarter turn, and the rest as `Word` has it. `baseline` is in the turned page's
    points."""

    turn: int
    size: float
    baseline: float
    bold: bool = False
    colour: Colour | None = BLACK

    def is_raised_beside(self, other: Style) -> bool:
        """Whether this is smaller and higher, as the numbers of notes are beside their words."""
        higher = other.baseline - self.baseline
        return (
            self.turn == other.turn
            and self.size < _ALIKE * other.size
            and _RAISED_BY * other.size < higher < other.size
        )


_UNSTYLED = Style(0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Word:
    """`size` is the font's, in points on the page. `bold` is whether the font says that it is. `colour` is None for
    letters that are drawn without ink. `typed`: words of its line are in the order of typing from left to right, also
    those of right-to-left scripts."""

    text: str
    box: Box
    size: float
    bold: bool = False
    colour: Colour | None = BLACK
    typed: bool = False

    @classmethod
    def at(cls, text: str, left: float, right: float, style: Style) -> Word:
        top, bottom = style.baseline - _ASCENT * style.size, style.baseline + _DESCENT * style.size
        return cls(text, Box(left, top, right, bottom), style.size, style.bold, style.colour)


@dataclass(frozen=True, slots=True)
class PageWords:
    """`by_turn`: quarter turn → the words that run that way, in drawing order. 0 is upright text, 4 text at any other
    angle. Each turn's boxes are as if the page were turned so that the text is upright.

    `unknown` counts the characters whose fonts do not say which letters they are. They are in no word. `private` counts
    those for which fonts have codes of their own. They are in words.
    """

    by_turn: dict[int, list[Word]]
    unknown: int
    private: int


def read_words(textpage: Any) -> PageWords:
    reader = _Reader(textpage)
    by_turn: dict[int, list[Word]] = defaultdict(list)
    for turn, word in reader.words():
        by_turn[turn].append(word)
    return PageWords(by_turn, reader.unknown, reader.private)


def _is_turned(before: int, code: int) -> bool:
    """Whether of two characters one is a right-to-left letter, and the other a sign."""
    return chr(before).isalnum() != chr(code).isalnum() and (_is_right_to_left(before) or _is_right_to_left(code))


def _is_right_to_left(code: int) -> bool:
    return _FIRST_HEBREW <= code <= _LAST_ARABIC


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
        self._font = ctypes.create_string_buffer(_FONT_NAME_BYTES)
        self._flags = ctypes.c_int()
        self._ink = tuple(ctypes.c_uint() for _ in range(4))
        self.unknown = self.private = 0

    def words(self) -> Iterator[tuple[int, Word]]:
        """(turn, word) in drawing order."""
        code_of, box_of = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
        is_unknown = pdfium.FPDFText_HasUnicodeMapError
        page, rectangle = self._page, self._rectangle
        letters: list[int] = []
        style, broken = _UNSTYLED, False
        start = end = height = 0.0  # of the word, along and across the direction of its text
        for index in range(self._count):
            code = code_of(page, index)
            if code in _BREAKS:
                broken = True
                continue
            if code in _SPACES:
                if letters:
                    yield style.turn, _word(letters, start, end, style)
                    letters = []
                continue
            if is_unknown(page, index) == 1:
                self.unknown += 1
                continue
            if not box_of(page, index, rectangle):
                continue
            self.private += code in _PRIVATE
            goes_on, left, right = bool(letters), 0.0, 0.0
            if letters:
                left, right = self._along(style.turn)
                gap = max(left - end, start - right)
                goes_on = not (
                    (gap > _SIGN_SPLIT * style.size and (gap > _SPLIT * style.size or _is_turned(letters[-1], code)))
                    or (broken and not self._goes_on(index, style, gap))
                    or (right < start + _SIGN_SPLIT * style.size and not any(map(_is_right_to_left, (*letters, code))))
                )
            broken = False
            if goes_on and not _ALIKE * height < self._height(style.turn) < height / _ALIKE:
                its_style = self._style(index)
                if code in _DIGITS and its_style.is_raised_beside(style):
                    *signs, code = map(ord, raised("".join(map(chr, letters[-4:])), chr(code)))
                    letters += signs
                elif style.is_raised_beside(its_style) and _DIGITS.issuperset(letters):
                    goes_on = False  # the number of a note, and the note
            if letters and not goes_on:
                yield style.turn, _word(letters, start, end, style)
                letters = []
            if not letters:
                style = self._style(index)
                height = self._height(style.turn)
                start, end = self._along(style.turn)
            else:
                start, end = min(start, left), max(end, right)
            letters.append(0x2D if code in _HYPHENS else code)
        if letters:
            yield style.turn, _word(letters, start, end, style)

    def _goes_on(self, index: int, style: Style, gap: float) -> bool:
        """Whether the character in `_rectangle` stands right beside a word, on its line."""
        its_style = self._style(index)
        beside = -_KERNED * style.size <= gap <= _TOUCHING * style.size
        same_line = abs(its_style.baseline - style.baseline) <= _SAME_LINE * style.size
        return its_style.turn == style.turn and beside and same_line

    def _height(self, turn: int) -> float:
        """How high the character in `_rectangle` is."""
        rectangle = self._rectangle
        height: float = rectangle.right - rectangle.left if turn in (1, 3) else rectangle.top - rectangle.bottom
        return height

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

    def _style(self, index: int) -> Style:
        """How a character is drawn."""
        matrix = self._matrix
        pdfium.FPDFText_GetMatrix(self._page, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = abs(pdfium.FPDFText_GetFontSize(self._page, index)) * scale
        pdfium.FPDFText_GetCharOrigin(self._page, index, self._x, self._y)
        quarters = pdfium.FPDFText_GetCharAngle(self._page, index) / _TURN
        turn = round(quarters) % 4 if abs(quarters - round(quarters)) < 0.1 else 4
        x, y = self._x.value, self._y.value
        baseline = {1: -x, 2: y, 3: x}.get(turn, -y)
        return Style(turn, size or 1.0, baseline, self._is_bold(index), self._colour(index))

    def _is_bold(self, index: int) -> bool:
        pdfium.FPDFText_GetFontInfo(self._page, index, self._font, _FONT_NAME_BYTES, self._flags)
        return bool(self._flags.value & _FORCE_BOLD) or _BOLD.search(self._font.value) is not None

    def _colour(self, index: int) -> Colour | None:
        """The colour of a character's outline if it has one, or what fills it; None without ink."""
        mode = pdfium.FPDFTextObj_GetTextRenderMode(pdfium.FPDFText_GetTextObject(self._page, index))
        if mode in _WITHOUT_INK:
            return None
        colour_of = pdfium.FPDFText_GetStrokeColor if mode in _OUTLINED else pdfium.FPDFText_GetFillColor
        red, green, blue, alpha = self._ink
        if not colour_of(self._page, index, red, green, blue, alpha):
            return BLACK
        return (red.value, green.value, blue.value) if alpha.value else None


def _word(letters: list[int], start: float, end: float, style: Style) -> Word:
    # PDFium gives characters above U+FFFF in two halves.
    text = "".join(map(chr, letters)).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Word.at(text, start, end, style)
