"""A stage's model by itself, without the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployments.embedding.averaging import mean
from deployments.embedding.base import Embedder
from deployments.reranking.base import Reranker
from deployments.types import Matrix, TextKind


def embed(embedder: Embedder, texts: Sequence[str], kind: TextKind = "passage") -> Matrix:
    """Unit vectors of shape (texts, dimension), each window by a pass of its own."""
    cut = embedder.cut(texts, kind)
    vectors = [embedder.forward([window], kind)[0] for each in cut for window in each]
    return mean(cut, np.array(vectors, dtype=np.float32).reshape(-1, embedder.info.dimension))


def score(reranker: Reranker[Any, Any], query: str, texts: Sequence[str]) -> list[float]:
    """All that the query asks in one pass."""
    items = reranker.items(query, texts)
    return reranker.scores(len(texts), items, reranker.forward(items) if items else [])
