"""Ends an answer at a stop sequence, for engines that do not do so themselves."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Fed an answer piece by piece, gives back what may be shown. The end of what was fed is held back for as long as
    it may be the beginning of a stop sequence; `met` once one was found, and from then on nothing more is given.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""
        self.met = False

    def feed(self, text: str) -> str:
        if self.met:
            return ""
        self._held += text
        found = [at for sequence in self._sequences if (at := self._held.find(sequence)) >= 0]
        if found:
            self.met = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        safe = len(self._held) - max((_begun(self._held, sequence) for sequence in self._sequences), default=0)
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown

    def rest(self) -> str:
        """What is still held back; for when the answer has ended."""
        shown, self._held = self._held, ""
        return shown


def _begun(text: str, sequence: str) -> int:
    """How many characters at the end of the text are a beginning of the sequence."""
    longest = min(len(sequence) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
