"""Writes quotations with their citation markers, and knows where in the answer each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from deployments.generation.selection import Quotation
from deployments.generation.stop_sequences import StopScanner
from deployments.types import CitedSpan, TextDelta

FinishReason = Literal["stop", "length", "no_answer"]


class QuotationWriter:
    """Writes at most `max_words` words, citation markers not counted, and nothing from the first stop sequence on."""

    def __init__(self, max_words: int, stop: Sequence[str]) -> None:
        self._max_words = max_words
        self._stop = StopScanner(stop)
        self._text = ""
        self._fed = self._sent = 0
        self._unsent_spans: list[CitedSpan] = []
        self._is_cut = False
        self.words = 0

    @property
    def is_full(self) -> bool:
        return self._is_cut or self._stop.met

    def write(self, text: str) -> TextDelta:
        """Write text of the engine's own, which quotes nothing."""
        self._append(text)
        return self._delta()

    def quote(self, quotation: Quotation) -> TextDelta:
        """Write a quotation. Headings are not cited, and the opening line of a list has no marker of its own."""
        if self.words >= self._max_words:
            self._is_cut = True
            return self._delta()
        if self._text and not self._text.endswith("\n"):
            self._text += "\n" if quotation.starts_section else " "
        start = len(self._text)
        self._append(quotation.text)
        if quotation.kind != "heading":
            self._unsent_spans.append(CitedSpan((quotation.number,), start, len(self._text)))
        if quotation.kind == "sentence":
            self._text += f" [{quotation.number}]"
        return self._delta()

    def end(self, reason: FinishReason) -> tuple[TextDelta, FinishReason]:
        """What was held back, and how the answer ended."""
        rest = self._stop.rest()
        self._sent += len(rest)
        ended: FinishReason = "stop" if self._stop.met else "length" if self._is_cut else reason
        return TextDelta(rest, citations=self._sent_spans()), ended

    def _append(self, text: str) -> None:
        """Add a text, or as much of it as there is room for."""
        words = text.split()
        room = self._max_words - self.words
        if len(words) > room:
            self._is_cut = True
            text = " ".join(words[:room])
        self.words += min(len(words), room)
        self._text += text

    def _delta(self) -> TextDelta:
        """The text that has been written since the last one, as far as it may be sent."""
        sendable = self._stop.feed(self._text[self._fed :])
        self._fed = len(self._text)
        self._sent += len(sendable)
        return TextDelta(sendable, citations=self._sent_spans())

    def _sent_spans(self) -> tuple[CitedSpan, ...]:
        """The citations whose text has been sent in the meantime."""
        sent = tuple(span for span in self._unsent_spans if span.end <= self._sent)
        self._unsent_spans = [span for span in self._unsent_spans if span.end > self._sent]
        return sent
