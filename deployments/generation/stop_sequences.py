"""Ends an answer at a stop sequence, for engines that cannot do it themselves."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Takes an answer's text bit by bit, and returns the text that may be sent.

    The end of the text is held back while it may be the beginning of a stop sequence. Once a sequence was found, `met`
    is true and nothing more is returned.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""
        self.met = False

    def feed(self, text: str) -> str:
        """Add text. Returns what may be sent now."""
        if self.met:
            return ""
        self._held += text
        starts = [start for sequence in self._sequences if (start := self._held.find(sequence)) >= 0]
        if starts:
            self.met = True
            sendable, self._held = self._held[: min(starts)], ""
            return sendable
        begun = max((_begun_characters(self._held, sequence) for sequence in self._sequences), default=0)
        safe = len(self._held) - begun
        sendable, self._held = self._held[:safe], self._held[safe:]
        return sendable

    def rest(self) -> str:
        """The text that is still held back, to be sent when the answer has ended."""
        rest, self._held = self._held, ""
        return rest


def _begun_characters(text: str, sequence: str) -> int:
    """How many characters at the end of the text are the beginning of the sequence."""
    longest = min(len(sequence) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
