"""Late interaction: a question's token vectors are compared with a passage's, not one vector with one vector.

MaxSim (Khattab and Zaharia, "ColBERT", 2020) takes, for each token of the question, the largest cosine with any token
of the passage. The score is the mean of these. The vectors are those that the embedder averages anyway, so they cost
nothing to compute. They would be large to keep. So a passage's vectors are turned in a fixed way, which spreads their
information evenly over all numbers. Then each number is kept in two bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from deployments.types import Candidate, LanguageShift, Matrix

MAX_QUESTION_TOKENS = 512
"""More tokens of a question are not compared."""
MAX_PASSAGE_TOKENS = 2_048
"""More tokens of a passage are not kept."""
_BOUND = np.float32(0.982)
_LEVELS = np.array([-1.51, -0.453, 0.453, 1.51], np.float32)
"""The best four values for a normally distributed number of variance 1, and `_BOUND` between two of them (Max,
"Quantizing for minimum distortion", 1960)."""
_CODES_IN_BYTE = 4
_REFLECTIONS = 64
_OF_BYTE = _LEVELS[(np.arange(256)[:, np.newaxis] >> np.array([0, 2, 4, 6])) & 3]
"""Byte → the values of its four codes."""
_SQUARES = (_OF_BYTE**2).sum(axis=1)


class ForeignShift(NamedTuple):
    """The shift of a question's token vectors, for those passages that are `foreign`; one value for each."""

    shift: LanguageShift
    foreign: Sequence[bool]


def pack(tokens: Matrix) -> bytes:
    """A passage's token vectors, shape (tokens, dimension), in about a sixteenth of their bytes.

    The dimension must be a multiple of 4. Empty for a passage without tokens.
    """
    turned = tokens[:MAX_PASSAGE_TOKENS] @ _rotation(tokens.shape[1])
    bounds = _BOUND * np.sqrt(np.mean(turned**2, axis=1, keepdims=True))
    codes = (turned > -bounds).view(np.uint8) + (turned > 0) + (turned > bounds)
    codes = codes.reshape(len(turned), tokens.shape[1] // _CODES_IN_BYTE, _CODES_IN_BYTE)
    packed: bytes = (codes[..., 0] | codes[..., 1] << 2 | codes[..., 2] << 4 | codes[..., 3] << 6).tobytes()
    return packed


def max_sim(question: Matrix, passages: Sequence[bytes], shift: ForeignShift | None = None) -> list[float]:
    """The score of each packed passage for a question's token vectors, shape (tokens, dimension), of unit length.

    Passages without token vectors have a score of 0. Blocks for milliseconds.
    """
    if not len(question):
        return [0.0] * len(passages)
    scores: list[float] = nearest_tokens(question, passages, shift).mean(axis=1).tolist()
    return scores


def nearest_tokens(question: Matrix, passages: Sequence[bytes], shift: ForeignShift | None = None) -> Matrix:
    """For each packed passage and each token of the question, the largest cosine with a token of the passage.

    Shape (passages, question's tokens). 0 for a passage without token vectors.
    """
    nearest = np.zeros((len(passages), len(question)), np.float32)
    if shift is not None and any(shift.foreign):
        for tokens, foreign in ((question, False), (shift.shift.shifted_tokens(question), True)):
            rows = [row for row, is_foreign in enumerate(shift.foreign) if is_foreign == foreign]
            nearest[rows] = nearest_tokens(tokens, [passages[row] for row in rows])
        return nearest
    present = [index for index, packed in enumerate(passages) if packed]
    if not present or not len(question):
        return nearest
    dimension = question.shape[1]
    packed = np.frombuffer(b"".join(passages[index] for index in present), np.uint8)
    tokens = np.take(_OF_BYTE, packed, axis=0).reshape(-1, dimension)
    lengths = np.sqrt(np.take(_SQUARES, packed).reshape(len(tokens), -1).sum(axis=1))
    cosines = ((question @ _rotation(dimension)) @ tokens.T) / lengths
    token_counts = [len(passages[index]) * _CODES_IN_BYTE // dimension for index in present]
    starts = np.cumsum([0, *token_counts[:-1]])
    nearest[present] = np.maximum.reduceat(cosines, starts, axis=1).T
    return nearest


def refine(candidates: Sequence[Candidate], scores: Sequence[float], weight: float) -> list[Candidate]:
    """Candidates in the order of their fused scores, the first of which also have a score of `max_sim`; best first.

        refined = (1 - w) · fused + w · (score - lowest) / (highest - lowest)

    A candidate without a score counts as one with the lowest.
    """
    lowest = min(scores, default=0.0)
    span = max(scores, default=0.0) - lowest
    stretched = [(score - lowest) / span if span else 0.0 for score in scores]
    stretched += [0.0] * (len(candidates) - len(scores))
    refined = [
        replace(
            candidate,
            scores=replace(candidate.scores, fused=(1 - weight) * (candidate.scores.fused or 0.0) + weight * late),
        )
        for candidate, late in zip(candidates, stretched, strict=True)
    ]
    return sorted(refined, key=lambda candidate: -candidate.scores.final)


@cache
def _rotation(dimension: int) -> Matrix:
    """An orthogonal matrix, the same on every machine: reflections (Householder's) at planes with fixed normals."""
    angles = np.arange(1, dimension + 1, dtype=np.float64)
    matrix = np.eye(dimension)
    for step in range(_REFLECTIONS):
        normal = np.cos(angles * angles * (0.37 + 0.11 * step) + step)
        normal /= np.linalg.norm(normal)
        matrix -= 2 * np.outer(matrix @ normal, normal)
    return matrix.astype(np.float32)
