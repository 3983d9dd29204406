"""A reranker for tests and demonstrations: the share of the query's words that a text holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployments.reranking.config import RerankingConfig

_WORD = re.compile(r"\w+")


class FakeReranker:
    model = "fake"

    def __init__(self, config: RerankingConfig) -> None:
        pass

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        asked = _words(query)
        return [len(asked & _words(text)) / max(len(asked), 1) for text in texts]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
