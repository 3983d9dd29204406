"""Croatian typed without diacritics, as on a foreign keyboard: `zalba` for `žalba`.

An embedder takes such words for other, rarer ones, and finds less. So they are restored before embedding, each as it is
written in texts that the question's terms have found: terms are compared without diacritics.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from deployments.lexical import FUNCTION_WORDS

_PLAIN = str.maketrans("čćšžđ", "ccszd")
_WORD = re.compile(r"[^\W\d_]+")
_BEGINNING = 4
"""Letters that two words must share for one to tell how the other's beginning is written."""
_Forms = Mapping[str, Counter[str]]
"""A word without diacritics → how often it is written in which way."""


def is_plain(text: str) -> bool:
    """Whether the text has none of the letters č, ć, š, ž and đ."""
    lower = text.lower()
    return lower == lower.translate(_PLAIN)


def restore(question: str, texts: Iterable[str]) -> str:
    """The question with each word as it is written most often in the texts.

    A word that they do not have begins as the word does that shares the longest beginning with it. What the texts do
    not know stays as it is.
    """
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in (FUNCTION_WORDS["hr"], *texts):
        for word in _WORD.findall(text.lower()):
            forms[word.translate(_PLAIN)][word] += 1
    by_beginning: defaultdict[str, list[str]] = defaultdict(list)
    for word in forms:
        by_beginning[word[:_BEGINNING]].append(word)
    return _WORD.sub(lambda match: _as_typed(match[0], _restored(match[0].lower(), forms, by_beginning)), question)


def _restored(word: str, forms: _Forms, by_beginning: Mapping[str, list[str]]) -> str:
    if word in forms:
        return _usual(forms[word])
    similar = by_beginning.get(word[:_BEGINNING], []) if len(word) > _BEGINNING else []
    if not similar:
        return word
    shared, _, nearest = max((_shared(word, other), forms[other].total(), other) for other in similar)
    return _usual(forms[nearest])[:shared] + word[shared:]


def _usual(written: Counter[str]) -> str:
    return written.most_common(1)[0][0]


def _shared(word: str, other: str) -> int:
    """How many first letters two words have in common."""
    return next((at for at, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))


def _as_typed(word: str, restored: str) -> str:
    """`restored`, in upper case where `word` is. `word` itself if lower case has other letters, as with a Turkish İ."""
    if len(word) != len(restored):
        return word
    return "".join(
        old if new == old.lower() else new.upper() if old.isupper() else new
        for old, new in zip(word, restored, strict=True)
    )
