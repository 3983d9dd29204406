"""Tells hyphens that only the end of a line put into a word from those that belong to it."""

from __future__ import annotations

import re
from collections.abc import Collection

WORD_CHARACTERS = 40
_STEM = 4
FOLLOWERS = "i|ili|te|a|and|or"
"""Words that often come after a hyphen that stands for the rest of a word: "drvo- i metaloprerada"."""
_COMPOUND = re.compile(rf"(?<![^\W\d_])[^\W\d_]{{1,{WORD_CHARACTERS}}}-[^\W\d_]+")
"""Tried once for each word, so that a word of any length costs no more than it is long."""
_ADJECTIVE = re.compile(r"[^\W\d_]{2,}(?:s|š|č|ć)ko")
_SECOND_ADJECTIVE = re.compile(r"[^\W\d_]{2,}(?:s|š|č|ć)k(?:i|a|o|e|u|oga?|omu?|ome|oj|om|ih|im|ima)")
"""Two adjectives of places or peoples keep their hyphen: "krapinsko-zagorska", "hrvatsko-engleski"."""


def compounds(text: str) -> frozenset[str]:
    """The words with a hyphen in a text, whatever their endings and capitals."""
    return frozenset(_key(*match[0].split("-")) for match in _COMPOUND.finditer(text))


def keeps_hyphen(before: str, after: str, known: Collection[str]) -> bool:
    """Whether a word that a line's end cut after a hyphen has it elsewhere too. `known` are the text's compounds.

    It has it where the text has the compound within a line, beside a capital letter, a digit or a single letter, and
    between two adjectives of places.
    """
    if len(before) < 2 or not (before[-1].islower() and after[:1].islower()) or _key(before, after) in known:
        return True
    return bool(_ADJECTIVE.fullmatch(before.lower()) and _SECOND_ADJECTIVE.fullmatch(after))


def _key(before: str, after: str) -> str:
    return f"{before}-{after[:_STEM]}".lower()
