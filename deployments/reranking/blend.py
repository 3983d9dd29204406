"""The final order: the reranker's score and retrieval's fused score, weighed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployments.types import Candidate


def blend(candidates: Sequence[Candidate], scores: Sequence[float], weight: float) -> list[Candidate]:
    """The candidates with `scores.rerank` filled in, best first; equal ones keep their order.

        rerank = weight · score + (1 - weight) · fused

    Both scores come in [0, 1] and are taken as they are, not stretched to the list's own least and greatest: so the
    result means the same whatever else was found. With retrieval's 0.7 dense + 0.3 lexical, a weight of 0.3 makes
    0.49 dense + 0.21 lexical + 0.3 reranker.
    """
    blended = [
        replace(candidate, scores=replace(candidate.scores, rerank=weight * score + (1 - weight) * _fused(candidate)))
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return sorted(blended, key=lambda candidate: -candidate.scores.final)


def _fused(candidate: Candidate) -> float:
    return min(max(candidate.scores.fused or 0.0, 0.0), 1.0)
