"""Counts the tokens of many parts of one text, without reading the text again for each part."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from tokenizers import Tokenizer

CHARACTERS_PER_TOKEN = 10
"""More than text in any language has. Prose has three to five."""
_SHORT = 64
"""Characters of a part that is encoded by itself. That takes less time than looking for it."""


class TokenCounts:
    """Counts tokens, at least one for each ten characters: a tokenizer may count a word of any length as one."""

    def __init__(self, tokenizer: Tokenizer, most_characters: int) -> None:
        """What is longer than `most_characters` fits nowhere, so it is not read."""
        self._tokenizer = tokenizer
        self._most_characters = most_characters
        self._text = ""
        self._ends: list[int] = []

    def of(self, text: str) -> int:
        if len(text) > self._most_characters:
            return _at_least(0, text)
        return _at_least(self._encoded(text), text)

    def of_each(self, texts: Sequence[str]) -> list[int]:
        beginnings = [text[: self._most_characters] for text in texts]
        encodings = self._tokenizer.encode_batch(beginnings, add_special_tokens=False)
        return [_at_least(len(tokens), text) for tokens, text in zip(encodings, texts, strict=True)]

    def read(self, text: str) -> None:
        """Encode the text whose parts are asked for next."""
        self._text = text
        self._ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]

    def of_part(self, part: str) -> int:
        """The tokens of a part of the text that was read last.

        It may be too many by some for a part that begins or ends within a word. It may be too few by some where tokens
        go beyond words, so a caller must count what it keeps.
        """
        if not _SHORT < len(part) <= self._most_characters:
            return self.of(part)
        words = part.lstrip()
        # Any place will do where the same words stand: they have the same tokens.
        begin = self._text.find(words) if words else -1
        if begin < 0:
            return self.of(part)
        end = begin + len(words)
        tokens = bisect_right(self._ends, end) - bisect_right(self._ends, begin)
        tokens += self._is_within_word(begin) + self._is_within_word(end)
        if len(words) < len(part):
            tokens += self._encoded(part[: -len(words)])
        return _at_least(tokens, part)

    def _encoded(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _is_within_word(self, at: int) -> bool:
        return 0 < at < len(self._text) and not (self._text[at - 1].isspace() or self._text[at].isspace())


def _at_least(tokens: int, text: str) -> int:
    return max(tokens, -(-len(text) // CHARACTERS_PER_TOKEN))
