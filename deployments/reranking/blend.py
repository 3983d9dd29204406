"""The final order of candidates: a weighted sum of the reranker's score and retrieval's fused score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployments.types import Candidate


def blend(candidates: Sequence[Candidate], scores: Sequence[float], weight: float) -> list[Candidate]:
    """The candidates with `scores.rerank` set, best first; equal ones keep their order.

        rerank = weight · score + (1 - weight) · fused

    Both scores lie in [0, 1]. The fused one is stretched over a question's candidates, the reranker's is not.
    """
    blended = [
        replace(candidate, scores=replace(candidate.scores, rerank=weight * score + (1 - weight) * _fused(candidate)))
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return sorted(blended, key=lambda candidate: -candidate.scores.final)


def _fused(candidate: Candidate) -> float:
    return min(max(candidate.scores.fused or 0.0, 0.0), 1.0)
