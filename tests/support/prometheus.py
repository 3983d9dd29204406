"""Debian's Prometheus for tests, as its users set it up: the shipped configuration and rules, scraped more often."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.observability import dashboards
from cluster.prometheus import owned_prometheus

SCRAPED_EVERY = "5s"
"""A scrape may take as long, which a busy machine needs."""
_SHIPPED = Path(dashboards.__file__).parent
_METRIC = re.compile(r"\b(?:ray_\w+|rag:[\w:]+|up)\b")


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str
    http: httpx.Client

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer. Raises AssertionError with what Prometheus says, as of a query that is none."""
        answer = self.http.get(f"{self.url}/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def values(self, expression: str) -> list[float]:
        """Of all series of a query's result now, those that are no number left out."""
        found = [float(series["value"][1]) for series in self.ask("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]


def rules() -> list[dict[str, Any]]:
    """The shipped rules, as the file has them."""
    groups = yaml.safe_load((_SHIPPED / "rules.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(window: str) -> dict[str, str]:
    """Of each query of each dashboard where it is: `dashboard, panel: legend` → expression. `window` is what Grafana
    would fill in."""
    return {
        f"{title}, {panel.title}: {legend}": expression.replace(dashboards.WINDOW, window)
        for title, shown in dashboards.DASHBOARDS.items()
        for panel in shown
        for expression, legend in panel.queries.items()
    }


def named(expressions: Sequence[str]) -> set[str]:
    """The metrics, and what rules record, that the expressions name."""
    return {name for expression in expressions for name in _METRIC.findall(expression)}


@contextmanager
def prometheus(folder: Path, service: str, platform_key: str, nodes: Sequence[str]) -> Iterator[Prometheus]:
    """As `rag up --prometheus` starts it, on the service at the URL `service`, and on Ray's exporters at `nodes`."""
    with (
        owned_prometheus(folder, service, platform_key, nodes, every=SCRAPED_EVERY) as url,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        yield Prometheus(url, http)
