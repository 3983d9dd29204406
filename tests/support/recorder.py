"""Recorders of metrics that keep what they are given."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from deployments.telemetry.metrics import METRICS, Metric


@dataclass
class RecordedMetrics:
    """`values`: metric, its labels as they were given, and the value."""

    values: list[tuple[Metric, dict[str, str], float]] = field(default_factory=list)

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        assert metric in METRICS
        assert set(labels) == set(metric.labels), f"{metric.name} has the labels {metric.labels}"
        self.values.append((metric, labels, value))

    def of(self, metric: Metric) -> list[tuple[dict[str, str], float]]:
        return [(labels, value) for recorded, labels, value in self.values if recorded is metric]


@dataclass
class RecordedLabelSets:
    """`of`: the sets of labels that each metric was given."""

    of: dict[Metric, set[tuple[tuple[str, str], ...]]] = field(default_factory=lambda: defaultdict(set))

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        self.of[metric].add(tuple(labels.items()))
