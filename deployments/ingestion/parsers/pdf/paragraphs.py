"""Joins the lines of columns and pages into paragraphs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from deployments.ingestion.parsers.hyphens import FOLLOWERS, WORD_CHARACTERS, compounds, keeps_hyphen
from deployments.ingestion.parsers.pdf.blocks import Block, Line, Table
from deployments.ingestion.parsers.pdf.segments import Segment
from deployments.ingestion.parsers.structure import is_heading

BULLET = re.compile(r"[•▪●○◦‣*–—-]\s")
_NUMBERED = re.compile(r"\(?(?:\d{1,3}|[a-zčćđšž]|[ivx]{1,5})[.)]\s")
_NOTE = re.compile(r"\(?(?:\d{1,3}|\*{1,3}|[†‡])[.)]?\s*[^\W\d_]")
_RULE = re.compile(r"[-=_*~.·—–\s]{3,}")
_LEADERS = re.compile(r"(?:[.·_]\s?){4,}|…{2,}")
_NUMBER = re.compile(r"\d+")
_FIGURE = re.compile(r"(?:^|\s)[-+]?[^\W\d_]{0,3}[$€£]?\d[\d.,:/%-]*(?<![.,])(?:\s?(?:%|[^\W\d_]{1,3}|[€$£]))?$")
"""A figure at the end of a line, perhaps with its unit. One before a full stop or a comma is part of a sentence."""
_ROW_WORDS, _ROW_FIGURES = 12, 0.25
_CUT = re.compile(r"([^\W\d_]+)[-\u2010\u00ad]$")
_FOLLOWER = re.compile(rf"(?:{FOLLOWERS})\b")
_FIRST_LETTERS = re.compile(r"[^\W\d_]*")
_ENDS = (".", ":", ";", "!", "?")
_CLOSING = "\"'”“»"
_OUTSIDE = 0.3
_NOTE_SIZE = 0.92
_LARGE = 1.15
_LEADING = 1.2
_STEP, _STEP_AFTER_SENTENCE = 1.3, 1.12
_SAME_SIZE = (0.85, 1.18)
_INDENT = 0.8
_FITS = 0.35
_PROSE_WORDS, _RAGGED = 5, 0.25


@dataclass(slots=True)
class Paragraph:
    """`size` is that of its first line's type. `parts` are (page, text), one for each line. `bold`: all lines are."""

    size: float
    bold: bool
    text: str = ""
    parts: list[tuple[int, str]] = field(default_factory=list)


def body_size(blocks: Sequence[Block]) -> float:
    """The size of most of the text; 0 if there is none. Tables count only where there is little else."""
    outside: Counter[float] = Counter()  # size → letters
    inside: Counter[float] = Counter()
    for block in blocks:
        if isinstance(block, Table):
            for segment in (segment for row in block.rows for cell in row for segment in cell):
                inside[segment.size] += len(segment.text)
        else:
            for line in block:
                outside[line.segment.size] += len(line.segment.text)
    letters = outside if outside.total() > _OUTSIDE * inside.total() else outside + inside
    return letters.most_common(1)[0][0] if letters else 0.0


def paragraphs(blocks: Sequence[Block]) -> Iterator[Paragraph | Table]:
    """The document's paragraphs and tables, in order. A note at the foot of a page comes after the paragraph that goes
    on on the next page."""
    joiner = _Joiner(blocks)
    for block in blocks:
        if isinstance(block, Table):
            yield from joiner.finish()
            yield block
            continue
        lines = [line for line in block if not _RULE.fullmatch(line.segment.text)]
        notes = joiner.notes_of(lines)
        for line in lines[: len(lines) - len(notes)]:
            yield from joiner.add(line)
        joiner.hold(notes)
    yield from joiner.finish()


class _Joiner:
    """Joins lines in reading order. Calls give the paragraphs that they complete."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._body = body_size(blocks)
        self._pitches = _pitches(blocks)
        texts = (line.segment.text for block in blocks if not isinstance(block, Table) for line in block)
        self._compounds = compounds("\n".join(texts))
        self._paragraph: Paragraph | None = None
        self._previous: Line | None = None
        self._notes: list[Line] = []

    def notes_of(self, lines: Sequence[Line]) -> Sequence[Line]:
        """The last lines of a block that are notes in smaller type."""
        count = 0
        for line in reversed(lines):
            if line.segment.size > _NOTE_SIZE * self._body:
                break
            count += 1
        notes = lines[len(lines) - count :]
        return notes if notes and _NOTE.match(notes[0].segment.text) and count < len(lines) else ()

    def hold(self, notes: Sequence[Line]) -> None:
        """Keep notes back until the paragraph above them has ended."""
        self._notes += notes

    def add(self, line: Line) -> Iterator[Paragraph]:
        previous = self._previous
        if previous is None or self._paragraph is None or not self._continues(previous, line):
            yield from self.finish()
            self._paragraph = Paragraph(line.segment.size, line.segment.bold)
            self._begin(line)
        else:
            self._append(line)
        self._previous = line

    def finish(self) -> Iterator[Paragraph]:
        """The paragraph that was joined last, and the notes below it."""
        if self._paragraph is not None:
            yield self._paragraph
        self._paragraph = self._previous = None
        notes, self._notes = self._notes, []
        for line in notes:
            yield from self.add(line)
        if notes:
            yield from self.finish()

    def _begin(self, line: Line) -> None:
        assert self._paragraph
        self._paragraph.text = line.segment.text
        self._paragraph.parts.append((line.segment.page, line.segment.text))

    def _append(self, line: Line) -> None:
        assert self._paragraph
        self._paragraph.text = joined(self._paragraph.text, line.segment.text, self._compounds)
        self._paragraph.bold = self._paragraph.bold and line.segment.bold
        self._paragraph.parts.append((line.segment.page, line.segment.text))

    def _continues(self, before: Line, line: Line) -> bool:
        """Whether a line goes on with the paragraph of the line before it."""
        previous, segment = before.segment, line.segment
        text, following = previous.text, segment.text
        same_size = _SAME_SIZE[0] < segment.size / previous.size < _SAME_SIZE[1]
        same_column = previous.page == segment.page and segment.box.bottom > previous.box.bottom
        step = segment.box.bottom - previous.box.bottom if same_column else 0.0
        pitch = max(self._pitches.get(_class(segment.size), 0.0), _LEADING * segment.size)
        if is_heading(text) or is_heading(following) or BULLET.match(following):
            return False
        if not same_size or step > _STEP * pitch or _is_other_weight(previous, segment):
            return False
        if _CUT.search(text) and following[:1].isalnum():
            return True
        if same_column and segment.size > _LARGE * self._body and abs(segment.size - previous.size) < 0.2:
            return not (_is_row(text) and _is_row(following))  # a heading in two lines
        if _are_rows(text, following) or _LEADERS.search(text):
            return False
        sentence_ended = text.rstrip(_CLOSING).endswith(_ENDS)
        if not sentence_ended and following[:1].islower() and (not same_column or _is_prose(before)):
            return True
        # A line was wrapped only if the next line's first word did not fit on it.
        if _room(before) > segment.first_word + _FITS * segment.size:
            return False
        if not sentence_ended:
            return True
        if not same_column or _NUMBERED.match(following):
            return False
        return step <= _STEP_AFTER_SENTENCE * pitch and _indent(line) < _indent(before) + _INDENT * segment.size


def _is_other_weight(line: Segment, following: Segment) -> bool:
    """Whether of two lines one is bold throughout and the other is not, where a sentence may begin."""
    return line.bold != following.bold and not following.text[:1].islower()


def joined(text: str, line: str, known: frozenset[str]) -> str:
    """A text and its next line. A hyphen that only the end of the line put there is left out."""
    cut = _CUT.search(text, max(len(text) - WORD_CHARACTERS, 0))
    if not cut or not line[:1].isalnum() or _FOLLOWER.match(line):
        return f"{text} {line}"
    after = _FIRST_LETTERS.match(line)
    if text.endswith("\u00ad"):
        return text[:-1] + line
    if keeps_hyphen(cut[1], after[0] if after else "", known):
        return text + line
    return text[:-1] + line


def _pitches(blocks: Sequence[Block]) -> dict[int, float]:
    """Class of sizes → the usual distance from one line of that size to the next."""
    steps: dict[int, list[float]] = defaultdict(list)
    for block in blocks:
        if isinstance(block, Table):
            continue
        for line, following in pairwise(block):
            step = following.segment.box.bottom - line.segment.box.bottom
            if step > 0 and _class(line.segment.size) == _class(following.segment.size):
                steps[_class(line.segment.size)].append(step)
    return {size: median(found) for size, found in steps.items()}


def _class(size: float) -> int:
    return round(2 * size)


def _room(line: Line) -> float:
    """How much space a line leaves before its column ends, in points."""
    box = line.segment.box
    return box.left - line.column.left if line.segment.right_to_left else line.column.right - box.right


def _indent(line: Line) -> float:
    """How far from the beginning of its column a line begins, in points."""
    box = line.segment.box
    return line.column.right - box.right if line.segment.right_to_left else box.left - line.column.left


def _is_prose(line: Line) -> bool:
    """Whether a line is nearly as wide as its column, and has words enough for a sentence."""
    return len(line.segment.words) >= _PROSE_WORDS and _room(line) < _RAGGED * line.column.width


def _are_rows(text: str, following: str) -> bool:
    """Whether two lines are rows of a list: they have the same words beside other numbers, or both end in a figure."""
    if _is_row(text) and _is_row(following):
        return True
    words = _NUMBER.sub("#", text)
    return "#" in words and words == _NUMBER.sub("#", following)


def _is_row(text: str) -> bool:
    if not _FIGURE.search(text):
        return False
    words = text.split()
    return len(words) <= _ROW_WORDS or sum(any(map(str.isdigit, w)) for w in words) >= _ROW_FIGURES * len(words)
