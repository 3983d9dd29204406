"""What `GET /metrics` says, and how it changes between two looks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
KEPT = ("ray_rag_", "ray_serve_deployment_")


@dataclass(frozen=True, slots=True)
class Look:
    """All series at `at`, a moment in seconds: name → labels → value."""

    at: float
    series: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, at: float) -> Look:
        """Raises ValueError for a text that is not Prometheus'."""
        series: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            if family.name.startswith(KEPT):
                for sample in family.samples:
                    series[sample.name][frozenset(sample.labels.items())] = sample.value
        return cls(at, series)

    def values(self, name: str, **labels: str) -> Iterator[float]:
        """Of all series that have these labels."""
        wanted = labels.items()
        return (value for has, value in self.series.get(name, {}).items() if wanted <= has)

    def total(self, name: str, **labels: str) -> float:
        return math.fsum(self.values(name, **labels))

    def most(self, name: str, **labels: str) -> float:
        return max(self.values(name, **labels), default=0.0)

    def names(self, name: str, label: str) -> list[str]:
        """The values of a label, sorted."""
        return sorted(
            {value for labels in self.series.get(name, {}) for key, value in labels if key == label and value}
        )


@dataclass(frozen=True, slots=True)
class Change:
    """From one look to a later one. A series that is new, or began again, counts from 0."""

    before: Look
    after: Look

    @property
    def seconds(self) -> float:
        return max(1e-9, self.after.at - self.before.at)

    def grown(self, name: str, **labels: str) -> float:
        """How much counters grew."""
        wanted, before = labels.items(), self.before.series.get(name, {})
        grown = 0.0
        for has, value in self.after.series.get(name, {}).items():
            if wanted <= has:
                former = before.get(has, 0.0)
                grown += value - former if value >= former else value
        return grown

    def rate(self, name: str, **labels: str) -> float:
        """A second."""
        return self.grown(name, **labels) / self.seconds

    def mean(self, histogram: str, **labels: str) -> float | None:
        count = self.grown(f"{histogram}_count", **labels)
        return self.grown(f"{histogram}_sum", **labels) / count if count else None

    def quantile(self, share: float, histogram: str, **labels: str) -> float | None:
        """As Prometheus' histogram_quantile has it; None if nothing was observed."""
        name = f"{histogram}_bucket"
        bounds = sorted(self.after.names(name, "le"), key=float)
        counts = [self.grown(name, le=bound, **labels) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        rank, lower, below = share * counts[-1], 0.0, 0.0
        for bound, count in zip(map(float, bounds), counts, strict=True):
            if count >= rank and count > below:
                return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = (lower if math.isinf(bound) else bound), count
        return lower
