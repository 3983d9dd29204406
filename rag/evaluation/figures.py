"""Figures of many questions, each with its 95 % bootstrap interval; alone, or of two configurations side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.evaluation.measures import Measured

RESAMPLES = 2_000
_INTERVAL = (2.5, 97.5)

Floats = NDArray[np.float64]
Draws = NDArray[np.int64]
"""Indexes of questions, (resamples, questions)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`low` and `high` bound 95 % of the values that resampled questions give. `questions`: how many it is of."""

    value: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The second configuration's figure minus the first's, over the same resampled questions."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt about the sign."""
        return self.low > 0 or self.high < 0


class _Columns:
    """The measures of questions as arrays, NaN where a measure does not apply."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.size = len(measured)
        names = dict.fromkeys(name for one in measured for name in one.values)
        self.values = {
            name: np.array([one.values.get(name, np.nan) for one in measured], dtype=np.float64) for name in names
        }
        self.answerable = np.array([one.question.answerable for one in measured], dtype=np.bool_)
        self.confidence = np.array(
            [np.nan if one.confidence is None else one.confidence for one in measured], dtype=np.float64
        )

    def count(self, name: str) -> int:
        return int(np.isfinite(self.values[name]).sum()) if name in self.values else 0


Statistic = Callable[[_Columns, Draws], Floats]
"""One value for each row of draws; NaN where it does not apply."""


def _mean(name: str) -> Statistic:
    def statistic(columns: _Columns, draws: Draws) -> Floats:
        drawn = columns.values[name][draws]
        there = np.isfinite(drawn)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(there, drawn, 0.0).sum(axis=1) / there.sum(axis=1), dtype=np.float64)

    return statistic


def _percentile(name: str, percent: float) -> Statistic:
    def statistic(columns: _Columns, draws: Draws) -> Floats:
        drawn = np.sort(columns.values[name][draws], axis=1)  # NaN last
        there = np.isfinite(drawn).sum(axis=1)
        at = np.maximum(np.ceil(percent / 100 * there).astype(np.int64) - 1, 0)
        return np.asarray(drawn[np.arange(len(drawn)), at], dtype=np.float64)

    return statistic


def _balanced_accuracy(columns: _Columns, draws: Draws) -> Floats:
    return (_mean("answered")(columns, draws) + _mean("refused")(columns, draws)) / 2


def _auc(columns: _Columns, draws: Draws) -> Floats:
    """How often an answerable question's confidence is above an unanswerable one's; equal ones count half."""
    known = np.isfinite(columns.confidence)
    positive, negative = np.flatnonzero(known & columns.answerable), np.flatnonzero(known & ~columns.answerable)
    above = columns.confidence[positive][:, None] - columns.confidence[negative][None, :]
    wins = (above > 0) + (above == 0) / 2
    times = np.zeros((len(draws), columns.size))
    np.add.at(times, (np.arange(len(draws))[:, None], draws), 1.0)
    pairs = times[:, positive].sum(axis=1) * times[:, negative].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(((times[:, positive] @ wins) * times[:, negative]).sum(axis=1) / pairs, dtype=np.float64)


MEANS = (
    *("ndcg@10", "recall@10", "mrr@10", "facts_in_sources", "facts_in_first_three", "facts_in_answer"),
    *("citation_precision", "citation_recall", "first_citation_right", "answered", "refused"),
)
_TIMES = {f"{name}_p{percent}": (name, percent) for name in ("sources_ms", "answer_ms") for percent in (50, 95)}


def _statistics(columns: _Columns) -> dict[str, tuple[Statistic, int]]:
    """Each figure that these questions have: how it is computed, and of how many questions it is."""
    found: dict[str, tuple[Statistic, int]] = {
        name: (_mean(name), columns.count(name)) for name in MEANS if columns.count(name)
    }
    if "answered" in found and "refused" in found:
        found["balanced_accuracy"] = (_balanced_accuracy, columns.size)
        found["answering_auc"] = (_auc, columns.size)
    for figure, (name, percent) in _TIMES.items():
        if columns.count(name):
            found[figure] = (_percentile(name, percent), columns.count(name))
    return found


def figures(measured: Sequence[Measured], *, seed: int = 0) -> dict[str, Figure]:
    """By name, in the order in which they are shown. The same seed gives the same intervals."""
    columns = _Columns(measured)
    draws, everyone = _draws(columns.size, seed), np.arange(columns.size)[None, :]
    found: dict[str, Figure] = {}
    for name, (statistic, questions) in _statistics(columns).items():
        value = float(statistic(columns, everyone)[0])
        low, high = _bounds(statistic(columns, draws))
        found[name] = Figure(value, low, high, questions)
    return found


def differences(first: Sequence[Measured], second: Sequence[Measured], *, seed: int = 0) -> dict[str, Difference]:
    """Of the figures that both have. Both are measured on the same questions, in the same order."""
    one, other = _Columns(first), _Columns(second)
    draws, everyone = _draws(one.size, seed), np.arange(one.size)[None, :]
    in_second = _statistics(other)
    found: dict[str, Difference] = {}
    for name, (statistic, _) in _statistics(one).items():
        if name in in_second:
            value = float((statistic(other, everyone) - statistic(one, everyone))[0])
            low, high = _bounds(statistic(other, draws) - statistic(one, draws))
            found[name] = Difference(value, low, high)
    return found


def question_differences(first: Measured, second: Measured) -> Mapping[str, float]:
    """One question's values of the second configuration minus those of the first, where both have one."""
    return {name: second.values[name] - value for name, value in first.values.items() if name in second.values}


def _draws(questions: int, seed: int) -> Draws:
    return np.random.default_rng(seed).integers(0, questions, size=(RESAMPLES, questions), dtype=np.int64)


def _bounds(values: Floats) -> tuple[float, float]:
    there = values[np.isfinite(values)]
    low, high = np.percentile(there, _INTERVAL) if len(there) else (np.nan, np.nan)
    return float(low), float(high)
