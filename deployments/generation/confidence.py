"""How sure an extractive answer is, from how near the passages are to the question.

The coefficients are those of logistic regressions over questions about ten Croatian acts: 40 that they answer, the same
40 without the acts that answer them, and 8 that none answers. docs/benchmarks/quality.md has what they reach on held
folds. The best cosine, the agreement of the best sentences on a document, and term coverage add nothing to nearness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signals:
    """What distinguishes questions that the passages answer from others.

    `agreement`: the share of the best five sentences that are in the best one's document. `coverage`: the share of the
    question's weighted terms that the best sentence holds, with its headings. `nearness`: the mean over the question's
    tokens of the largest cosine with a token of the first passages, None without token vectors. `embedder`: the name of
    the model that made these.
    """

    agreement: float
    coverage: float
    nearness: float | None = None
    embedder: str = ""


def confidence(signals: Signals) -> float:
    """The probability that the answer answers the question, from 0 to 1."""
    if signals.nearness is not None and signals.embedder.endswith("multilingual-e5-small"):
        exponent = 19.5 * signals.nearness - 15.6
    else:  # another model's cosines have another range
        exponent = -2.25 + 1.79 * signals.agreement + 2.96 * signals.coverage
    return 1 / (1 + math.exp(-exponent))
