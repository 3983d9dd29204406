"""A reranker for tests and demonstrations: a text's score is the share of the query's words that it holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.reranking.config import RerankingConfig

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pair:
    query: str
    text: str
    tokens: int


class FakeReranker:
    """See `base.Reranker`."""

    model = "fake"
    concurrent_passes = 1

    def __init__(self, config: RerankingConfig) -> None:
        pass

    def items(self, query: str, texts: Sequence[str]) -> list[Pair]:
        return [Pair(query, text, len(_WORD.findall(text))) for text in texts]

    def forward(self, items: Sequence[Pair]) -> list[float]:
        return [len(_words(pair.query) & _words(pair.text)) / max(len(_words(pair.query)), 1) for pair in items]

    def scores(self, text_count: int, items: Sequence[Pair], results: Sequence[float]) -> list[float]:
        return list(results)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
