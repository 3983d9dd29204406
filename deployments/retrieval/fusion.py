"""Fuses the dense and the lexical ranking into one, by a weighted sum of their scores.

Ranks alone (reciprocal rank fusion) do not say how good a match is. Scores do, but not on the same scale: one model's
cosines lie between 0.1 and 0.7, another's between 0.75 and 0.9. So each half's scores are stretched first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployments.types import Candidate, Language, Scores


def dense_share(
    languages: Sequence[str], language: Language, *, dense_weight: float, dense_weight_other: float
) -> float:
    """The dense half's weight: `dense_weight` if the embedder knows the question's language, else the other.

    `languages` empty: the embedder knows any language.
    """
    return dense_weight if not languages or language in languages else dense_weight_other


def fuse(dense: Sequence[Candidate], lexical: Sequence[Candidate], *, dense_weight: float) -> list[Candidate]:
    """Both halves' candidates merged by passage id, best first; ties by document and position.

        fused = w · (cosine - lowest) / (highest - lowest) + (1 - w) · lexical / (best lexical)

    where lowest and highest are among these candidates. So a score lies between 0 and 1, and compares the candidates of
    one question only. A candidate may also carry the score of the half that did not return it. Where it does not, its
    cosine counts as the lowest, and its lexical score as 0. If one half is empty, the other has all the weight.
    """
    if not dense or not lexical:
        dense_weight = 1.0 if dense else 0.0
    merged: dict[str, Candidate] = {}
    for candidate in [*dense, *lexical]:
        other = merged.get(candidate.passage.id, candidate).scores
        scores = Scores(
            dense=_first(other.dense, candidate.scores.dense), lexical=_first(other.lexical, candidate.scores.lexical)
        )
        merged[candidate.passage.id] = replace(candidate, scores=scores)
    cosines = [candidate.scores.dense for candidate in merged.values() if candidate.scores.dense is not None]
    lowest, highest = min(cosines, default=0.0), max(cosines, default=0.0)
    span = highest - lowest
    best = max((candidate.scores.lexical or 0.0 for candidate in merged.values()), default=0.0) or 1.0

    def fused(scores: Scores) -> float:
        cosine = lowest if scores.dense is None else scores.dense
        nearness = (cosine - lowest) / span if span else 1.0
        return dense_weight * nearness + (1 - dense_weight) * (scores.lexical or 0.0) / best

    def rank(candidate: Candidate) -> tuple[float, str, int, str]:
        passage = candidate.passage
        return -candidate.scores.final, passage.document_id, passage.position, passage.id

    candidates = merged.values()
    return sorted(
        (
            replace(candidate, scores=replace(candidate.scores, fused=fused(candidate.scores)))
            for candidate in candidates
        ),
        key=rank,
    )


def _first(*scores: float | None) -> float | None:
    return next((score for score in scores if score is not None), None)
