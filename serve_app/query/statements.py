"""Takes an answer apart into statements with the passages that each cites, while it streams."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.generation.sentences import sentence_starts
from deployments.types import Language

MAX_CHARACTERS = 2_000
"""Of one statement. A longer sentence is cut, so that each piece of text costs the same however long it goes on."""
_MARKER = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_GROUP = re.compile(rf"{_MARKER.pattern}(?:[\s,;]*{_MARKER.pattern})*")
_UNFINISHED_MARKER = re.compile(r"\[[\d\s,]*$")
_STOP_AFTER_MARKER = re.compile(r"(?<=\])\.(?=\s)")
_LINE_START = re.compile(r"\n[^\S\n]*(?=\S)")
_LEAD = " .,;:!?…\n\t"


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, or the part of one up to its citation: characters `start` to `end` of the answer.

    `text` has no markers. `citations` are the numbers in each of its markers, those without a passage left out.
    """

    start: int
    end: int
    text: str
    citations: tuple[tuple[int, ...], ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """All passages that it cites, each once."""
        return tuple(dict.fromkeys(number for numbers in self.citations for number in numbers))


class StatementReader:
    """Returns a statement once the next one has begun, since a marker may still follow its full stop.

    A sentence with several citations is several statements, each up to its markers; what follows the last marker
    belongs to the last statement. How the text is cut into pieces makes no difference.
    """

    def __init__(self, passages: int, language: Language) -> None:
        self._passages = passages
        self._language = language
        self._pending = ""
        self._offset = 0

    def feed(self, text: str) -> Sequence[Statement]:
        """The statements that this piece of the answer completes."""
        self._pending += text
        if len(self._pending) <= MAX_CHARACTERS and not any(map(str.isspace, text)):
            return ()  # a sentence is known to end where a word has begun and ended behind it
        known = self._known()
        starts = _starts(known, self._language)
        if not starts and len(self._pending) > MAX_CHARACTERS:
            starts = [known.rfind(" ") + 1 or len(known) or len(self._pending)]
        return self._take(starts[-1], starts) if starts else ()

    def end(self) -> Sequence[Statement]:
        """The statements of the remaining text."""
        return self._take(len(self._pending), _starts(self._pending, self._language))

    def _known(self) -> str:
        """What no further text can change: up to the last word, which may go on, and to a marker that is not whole."""
        words = self._pending.rstrip()
        whole = self._pending if len(words) < len(self._pending) else words[: _last_blank(words)]
        return whole[: found.start()] if (found := _UNFINISHED_MARKER.search(whole)) else whole

    def _take(self, length: int, starts: Sequence[int]) -> list[Statement]:
        bounds = [0, *(start for start in starts if start < length), length]
        taken = [statement for start, end in itertools.pairwise(bounds) for statement in self._statements(start, end)]
        self._pending = self._pending[length:]
        self._offset += length
        return taken

    def _statements(self, start: int, end: int) -> Iterator[Statement]:
        """One sentence's statements."""
        sentence = self._pending[start:end]
        groups = [*_GROUP.finditer(sentence)]
        begins = [0, *(group.end() for group in groups[:-1])]
        for at, begin in enumerate(begins):
            group = groups[at] if groups else None
            body = sentence[begin : group.start() if group else len(sentence)]
            tail = sentence[group.end() :] if group and at == len(begins) - 1 else ""
            if not any(map(str.isalnum, tail)):
                tail = ""
            lead = len(body) - len(body.lstrip(_LEAD if begin else " \n\t"))
            stop = group.end() + len(tail.rstrip()) if group and tail else begin + len(body.rstrip())
            text = f"{body.strip(_LEAD) if tail else body[lead:].rstrip()}{tail.rstrip()}"
            if not any(map(str.isalnum, text)):
                continue
            first = self._offset + start
            yield Statement(first + begin + lead, first + stop, text, self._citations(group))

    def _citations(self, group: re.Match[str] | None) -> tuple[tuple[int, ...], ...]:
        markers = _MARKER.finditer(group[0]) if group else ()
        cited = (
            tuple(number for number in map(int, marker[1].split(",")) if 1 <= number <= self._passages)
            for marker in markers
        )
        return tuple(filter(None, cited))


def _starts(text: str, language: Language) -> list[int]:
    """Where further sentences begin. Markers belong to the sentence before them, and a line is never a part of two."""
    # A full stop behind a marker ends the sentence, whatever stood before it: "do 15 [1]. Rok".
    masked = _MARKER.sub(lambda marker: " " * len(marker[0]), _STOP_AFTER_MARKER.sub("!", text))
    lines = (match.end() for match in _LINE_START.finditer(masked) if match.start())
    return sorted({*lines, *sentence_starts(masked, language)})


def _last_blank(text: str) -> int:
    return next((at + 1 for at in range(len(text) - 1, -1, -1) if text[at].isspace()), 0)
