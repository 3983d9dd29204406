"""Leaves out running heads, running feet and page numbers: what stands at the same place of many pages.

A line is one only if its text is the same on those pages but for the page number. A line whose numbers differ
otherwise, as those of statements and invoices do, is text of the document.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from deployments.ingestion.parsers.pdf.blocks import text_lines
from deployments.ingestion.parsers.pdf.segments import Segment

_NUMBER = re.compile(r"\d+")
_PAGE_WORD = re.compile(
    r"(?:\b(?:stranica|stranice|strana|str|page|pages|pg|p|seite|עמוד|דף)\b\.?\s*\d)|"
    r"\A\W*\d+\W*(?:(?:/|od|of|von|מתוך)\W*\d+\W*)?\Z",
    re.IGNORECASE,
)
"""Words before a page number, or a page number by itself: "12", "- 12 -", "1/3", "1 od 3"."""
_AMOUNT = re.compile(r"\d[.,]\d{2}(?!\d)|[€$£%]|\b(?:EUR|kn|kuna|eura?)\b")
_ROWS = 4
"""At most so many lines at the top and at the bottom of a page."""
_PLACE = 3.0
_NEIGHBOURS = (1, -1, 2, -2)
"""Left and right pages often have different heads, so those two pages away count too."""
_PAGES, _SHARE = 3, 0.4
_NEAR = 10
_DETACHED = 1.5
_OTHER_SIZE = 0.05
_SMALLER = 0.95
_PROSE_WORDS = 6

Page = list[Segment]


def without_running_lines(pages: Sequence[Page]) -> list[Page]:
    """The pages' segments without running lines. The first page keeps its head and the last its foot, so that no text
    is lost, but not their page numbers. No page becomes empty."""
    finder = _Finder(pages)
    kept: list[Page] = []
    for number, page in enumerate(pages):
        rows = text_lines(page)
        head = finder.running(number, rows)
        foot = finder.running(number, rows[len(head) :][::-1])
        if len(head) + len(foot) == len(rows):
            kept.append(page)
            continue
        left_out = [
            segment
            for running_rows, keeps in ((head, number == 0), (foot, number == len(pages) - 1))
            for row in running_rows
            for segment in row
            if not keeps or _PAGE_WORD.search(segment.text)
        ]
        out = set(map(id, left_out))
        kept.append([segment for segment in page if id(segment) not in out])
    return kept


class _Finder:
    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = len(pages)
        self._by_text: dict[str, dict[int, list[Segment]]] = defaultdict(lambda: defaultdict(list))
        letters: dict[float, int] = defaultdict(int)
        steps: dict[float, list[float]] = defaultdict(list)
        for number, page in enumerate(pages):
            for segment in page:
                self._by_text[_key(segment)][number].append(segment)
                letters[segment.size] += len(segment.text)
        self._body = max(letters, key=lambda size: letters[size], default=0.0)
        for page in pages:
            for above, below in pairwise(text_lines(page)):
                steps[above[0].size].append(below[0].box.bottom - above[0].box.bottom)
        self._steps = {size: sorted(found)[len(found) // 4] for size, found in steps.items()}

    def running(self, number: int, rows: Sequence[list[Segment]]) -> list[list[Segment]]:
        """The first of these rows that are running lines, from the edge of the page inwards."""
        found: list[list[Segment]] = []
        if self._pages < 2:
            return found
        for index, row in enumerate(rows[:_ROWS]):
            inner = rows[index + 1] if index + 1 < len(rows) else None
            if not all(self._is_running(number, segment, inner) for segment in row):
                break
            found.append(row)
        return found

    def _is_running(self, number: int, segment: Segment, inner: list[Segment] | None) -> bool:
        places = self._by_text[_key(segment)]
        near = {other: places[other] for other in range(number - _NEAR, number + _NEAR + 1) if other in places}
        same = {
            other: relation
            for other, candidates in near.items()
            for candidate in candidates
            if _is_same_place(segment, candidate) and (relation := _relation(segment, candidate, other - number))
        }
        if not any(number + step in same for step in _NEIGHBOURS):
            return False
        if len(same) < min(_PAGES, max(2, _SHARE * self._pages)):
            return False
        counts_pages = any(relation == "counter" for relation in same.values())
        if _PAGE_WORD.search(segment.text):
            return True
        if any(len(candidates) > 1 for candidates in near.values()) or _AMOUNT.search(segment.text):
            return False  # lines of a list have the same words, and equal totals are no feet
        detached = inner is None or self._is_detached(segment, inner)
        if counts_pages:
            return detached and segment.size < _SMALLER * self._body
        return detached or (inner is not None and _is_prose(inner))

    def _is_detached(self, segment: Segment, inner: list[Segment]) -> bool:
        """Whether a line stands apart from the next one inwards, or looks otherwise."""
        nearest = min(inner, key=lambda other: abs(other.box.left - segment.box.left))
        step = abs(nearest.box.bottom - segment.box.bottom)
        other_size = abs(segment.size - nearest.size) > _OTHER_SIZE * nearest.size
        other_place = abs(segment.box.left - nearest.box.left) > _PLACE
        return other_size or other_place or step > _DETACHED * self._steps.get(nearest.size, nearest.size)


def _is_prose(row: Sequence[Segment]) -> bool:
    """Whether a row is a line of running text, so that what stands close to it is no part of a list or table."""
    return len(row) == 1 and len(row[0].words) >= _PROSE_WORDS and not any(map(str.isdigit, row[0].text))


def _key(segment: Segment) -> str:
    return _NUMBER.sub("#", segment.text).casefold()


def _is_same_place(segment: Segment, other: Segment) -> bool:
    box, other_box = segment.box, other.box
    beside = (box.left - other_box.left, box.right - other_box.right, box.centre - other_box.centre)
    return abs(box.bottom - other_box.bottom) <= _PLACE and min(map(abs, beside)) <= _PLACE


def _relation(segment: Segment, other: Segment, pages: int) -> str:
    """How two texts of the same words differ: "same", "counter" where a number counts pages; empty for otherwise."""
    differences = {
        int(theirs) - int(ours)
        for ours, theirs in zip(_numbers(segment), _numbers(other), strict=True)
        if ours != theirs
    }
    if not differences:
        return "same"
    return "counter" if differences == {pages} else ""


def _numbers(segment: Segment) -> Iterator[str]:
    return iter(_NUMBER.findall(segment.text)[:50])
