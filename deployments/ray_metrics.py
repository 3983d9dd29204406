"""Metrics through Ray: recorded in this process, and read from all nodes of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import httpx
import ray
from ray.serve import metrics

from deployments.errors import StageUnavailable
from deployments.telemetry.metrics import Metric

NODE_TIMEOUT_S = 5.0
"""How long a node may take to answer with its metrics. One that does not is left out."""
MAX_NODE_BYTES = 64 * 2**20
SERIES = ("ray_rag_", "ray_serve_", "ray_vllm_", "ray_node_")
"""What the series' names begin with that are shown. Ray's others, as of its tasks, are at its own exporters."""


class RayRecorder:
    """Records with `ray.serve.metrics`, which adds deployment, replica and application. Ray exports every 10 s."""

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        _instrument(metric)(value, labels or None)


@cache
def _instrument(metric: Metric) -> Any:
    if metric.kind == "counter":
        return metrics.Counter(metric.name, metric.description, metric.labels).inc
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.description, list(metric.buckets), metric.labels).observe
    return metrics.Gauge(metric.name, metric.description, metric.labels).set


async def read_all_nodes() -> str:
    """The series of all processes on all nodes, in Prometheus' text format. Raises StageUnavailable if no node answers.

    Source: https://docs.ray.io/en/latest/cluster/metrics.html
    """
    nodes = await asyncio.to_thread(ray.nodes)
    addresses = [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes if node["Alive"]
    ]
    async with httpx.AsyncClient(timeout=NODE_TIMEOUT_S, trust_env=False) as http:
        texts = await asyncio.gather(*(_read(http, address) for address in addresses))
    answered = [text for text in texts if text is not None]
    if not answered:
        raise StageUnavailable(
            "no node of the cluster answers with its metrics; Ray's dashboard agent starts last on a node, or has ended"
        )
    return await asyncio.to_thread(merge, answered)


async def _read(http: httpx.AsyncClient, address: str) -> str | None:
    text = bytearray()
    try:
        async with http.stream("GET", address) as response:
            response.raise_for_status()
            async for part in response.aiter_bytes():
                text += part
                if len(text) > MAX_NODE_BYTES:
                    return None
    except httpx.HTTPError:
        return None
    return text.decode()


def merge(texts: Sequence[str]) -> str:
    """One text of several nodes' series, with each metric's lines together, as the format demands."""
    heads: dict[str, list[str]] = {}
    lines: dict[str, list[str]] = {}
    for text in texts:
        for name, line in _named(text.splitlines()):
            if line.startswith("#"):
                head = heads.setdefault(name, [])
                if line not in head:
                    head.append(line)
            else:
                lines.setdefault(name, []).append(line)
    merged = [line for name, found in lines.items() for line in (*heads.get(name, ()), *found)]
    return "".join(f"{line}\n" for line in merged)


def _named(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The lines that are shown, each with the name of the metric that it stands below."""
    name = ""
    for line in lines:
        if line.startswith(("# HELP ", "# TYPE ")):
            name = line.split(" ", 3)[2]
        elif line.startswith("#") or not line.startswith(name):
            name = ""
        if name.startswith(SERIES):
            yield name, line
