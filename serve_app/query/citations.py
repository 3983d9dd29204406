"""Finds citation markers such as [2] or [1, 3] in an answer while it streams."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployments.types import CitedSpan

_MARKER = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_SENTENCE_START = re.compile(r"(?:[.!?…:]\s+|\n\s*)(?=\S)")


class CitationScanner:
    """Takes an answer piece by piece and returns each citation as soon as its marker is complete.

    The span is the sentence before the marker. Adjacent markers share it. Numbers without a passage are ignored.
    """

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._answer = ""
        self._scanned = 0
        self._last: CitedSpan | None = None
        self._last_marker_end = 0

    def feed(self, text: str) -> Sequence[CitedSpan]:
        self._answer += text
        found: list[CitedSpan] = []
        for marker in _MARKER.finditer(self._answer, self._scanned):
            self._scanned = marker.end()
            start, end = self._sentence_before(marker.start())
            self._last_marker_end = marker.end()
            numbers = tuple(number for number in map(int, marker[1].split(",")) if 1 <= number <= self._passages)
            self._last = CitedSpan(numbers, start, end)
            if numbers:
                found.append(self._last)
        return found

    def _sentence_before(self, marker_start: int) -> tuple[int, int]:
        segment = self._answer[self._last_marker_end : marker_start]
        if not segment.strip(" ,;") and self._last is not None:
            return self._last.start, self._last.end
        body = segment.rstrip()
        # The cited sentence's own full stop may come before the marker: only earlier ones start a sentence.
        starts = [match.end() for match in _SENTENCE_START.finditer(body) if match.end() < len(body)]
        lead = starts[-1] if starts else len(body) - len(body.lstrip(" .,;:!?\n"))
        return self._last_marker_end + lead, self._last_marker_end + len(body)
