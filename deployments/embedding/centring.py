"""Takes the language out of vectors, so that a question finds what is said in another language.

A multilingual model puts texts of one language near to each other, whatever they are about: a Croatian question is
nearer to most Croatian texts than to an English one that answers it. The mean vector of texts about many subjects is
what they have in common, their language above all. It is subtracted, for each language and for questions and passages
apart (see Yang and others, "A Simple and Effective Method To Eliminate the Self Language Bias in Multilingual
Representations", 2021, for a relative of this).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deployments.embedding.base import Embedder, TokenVectors
from deployments.embedding.parallel_texts import PARALLEL
from deployments.inference.windows import Window
from deployments.lexical import detect_language
from deployments.types import EmbedderInfo, Language, Matrix, TextKind, Vector

_BATCH = 8


class _Means(NamedTuple):
    """Of texts' vectors and of their tokens' vectors, each of shape (dimension,)."""

    text: Vector
    token: Vector | None


class CentredEmbedder:
    """An embedder whose vectors are those of another one, without what says only which language a text is in."""

    info: EmbedderInfo
    concurrent_passes: int

    def __init__(self, embedder: Embedder) -> None:
        """Embeds some texts, which takes about a second."""
        self._embedder = embedder
        self.info = replace(embedder.info, fingerprint=f"{embedder.info.fingerprint}c")
        self.concurrent_passes = embedder.concurrent_passes
        self._means: Mapping[tuple[TextKind, Language], _Means] = {
            (kind, language): _means(embedder, texts, kind)
            for kind, by_language in PARALLEL.items()
            for language, texts in by_language.items()
        }

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return self._embedder.count_tokens(texts, kind)

    def split(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        return self._embedder.split(texts, kind)

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        return self._centred(self._embedder.forward(windows, kind), self._means_of(windows, kind))

    def forward_tokens(self, windows: Sequence[Window], kind: TextKind) -> TokenVectors | None:
        found = self._embedder.forward_tokens(windows, kind)
        if found is None:
            return None
        means = self._means_of(windows, kind)
        tokens = [
            vectors if mean.token is None else _unit(vectors - mean.token)
            for vectors, mean in zip(found.tokens, means, strict=True)
        ]
        return TokenVectors(self._centred(found.vectors, means), tokens)

    def _means_of(self, windows: Sequence[Window], kind: TextKind) -> list[_Means]:
        return [self._means[kind, detect_language(window.text)] for window in windows]

    def _centred(self, vectors: Matrix, means: Sequence[_Means]) -> Matrix:
        return _unit(vectors - np.stack([mean.text for mean in means]))


def _means(embedder: Embedder, texts: Sequence[str], kind: TextKind) -> _Means:
    windows = [window for parts in embedder.split(texts, kind) for window in parts]
    batches = [windows[start : start + _BATCH] for start in range(0, len(windows), _BATCH)]
    vectors = np.concatenate([embedder.forward(batch, kind) for batch in batches])
    of_tokens = [embedder.forward_tokens(batch, kind) for batch in batches]
    tokens = [vectors for found in of_tokens if found is not None for vectors in found.tokens]
    return _Means(vectors.mean(axis=0), np.concatenate(tokens).mean(axis=0) if tokens else None)


def _unit(vectors: Matrix) -> Matrix:
    lengths = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
    unit: Matrix = (vectors / lengths).astype(np.float32)
    return unit
