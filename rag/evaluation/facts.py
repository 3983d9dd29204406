"""Whether texts hold the key facts of a question: as substrings after NFKC, case folding and single blanks.

Not `serve_app/query/facts.py`, which reads numbers and dates.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hold_all(texts: Iterable[str], facts: Sequence[str]) -> bool:
    """Whether each fact is in one of the texts."""
    normalised = [normalise(text) for text in texts]
    return all(any(normalise(fact) in text for text in normalised) for fact in facts)


def within(texts: Iterable[str], characters: int) -> list[str]:
    """The texts up to so many characters together; the one that goes over is cut, and those after it are empty."""
    kept: list[str] = []
    for text in texts:
        kept.append(text[:characters])
        characters -= len(kept[-1])
    return kept
