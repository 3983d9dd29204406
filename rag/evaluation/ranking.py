"""Measures of a ranking, as trec_eval and ir-measures define them.

They are computed here, and tests compare them with ir-measures. The library that ir-measures needs has builds for few
machines, and contains files whose licence is for research only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """Normalised discounted cumulative gain of the first `depth`, with linear gains. `ranked` has each label once."""
    ideal = _discounted(sorted(grades.values(), reverse=True)[:depth])
    return _discounted([grades.get(label, 0) for label in ranked[:depth]]) / ideal if ideal else 0.0


def recall(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """The share of what is relevant that is among the first `depth`."""
    return sum(label in grades for label in ranked[:depth]) / len(grades) if grades else 0.0


def reciprocal_rank(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """1 / the rank of the first that is relevant; 0 if none of the first `depth` is."""
    return next((1 / rank for rank, label in enumerate(ranked[:depth], 1) if label in grades), 0.0)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
