"""What is added to a question's vectors before they are compared with passages of the other language.

A multilingual model puts texts of one language near to each other, whatever they are about: a Croatian question is
nearer to most Croatian texts than to an English one that answers it. So the same questions are embedded in both
languages. The difference of the two mean vectors is the shift from one language to the other. Passages of the
question's own language are compared with the question as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deployments.embedding.base import Embedder
from deployments.embedding.parallel_questions import PARALLEL_QUESTIONS
from deployments.lexical import known_language
from deployments.types import Language, LanguageShift, Matrix, Vector

_OTHER: Mapping[Language, Language] = {"hr": "en", "en": "hr"}
_BATCH = 8


class _Means(NamedTuple):
    """The mean of texts' vectors, and that of their tokens' vectors, each of shape (dimension,)."""

    text: Vector
    token: Vector | None


class LanguageShifts:
    """For a model that knows both languages. The constructor embeds some fifty short questions."""

    def __init__(self, embedder: Embedder) -> None:
        self._means = {language: _means(embedder, texts) for language, texts in PARALLEL_QUESTIONS.items()}

    def of(self, question: str) -> LanguageShift | None:
        """From the language that the question is in to the other one. None if its words do not tell its language."""
        if (own := known_language(question)) is None:
            return None
        before, after = self._means[own], self._means[_OTHER[own]]
        token = None if before.token is None or after.token is None else after.token - before.token
        return LanguageShift(_OTHER[own], after.text - before.text, token)


def knows_both(languages: Sequence[str]) -> bool:
    """`languages`: those that a model knows; empty for any."""
    return not languages or set(PARALLEL_QUESTIONS) <= {*languages}


def _means(embedder: Embedder, texts: Sequence[str]) -> _Means:
    windows = [window for parts in embedder.split(texts, "query") for window in parts]
    vectors: list[Matrix] = []
    tokens: list[Matrix] = []
    for start in range(0, len(windows), _BATCH):
        batch = windows[start : start + _BATCH]
        if (found := embedder.forward_tokens(batch, "query")) is None:
            vectors.append(embedder.forward(batch, "query"))
        else:
            vectors.append(found.vectors)
            tokens += found.tokens
    return _Means(np.concatenate(vectors).mean(axis=0), np.concatenate(tokens).mean(axis=0) if tokens else None)
