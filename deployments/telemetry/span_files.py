"""Reads spans back from the files of a node, where `telemetry.exporter` is `file`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from deployments.telemetry.exporters import FILE

MAX_SPANS: Final = 1_000
"""Of one question. An answer has some forty; those that began last are left out."""
Span = Mapping[str, Any]
"""As `exporters.line_of` writes it."""


def spans_of_query(folder: Path, trace_id: str, query_id: str) -> list[Span]:
    """The span of the request that asked the question, and all below it, by their beginnings. Empty if the node has
    none. Blocks while it reads all files.

    Others of the trace are left out: a caller may give many requests one trace, also of other tenants.
    """
    found = [*_of_trace(folder, trace_id)]
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in found:
        children[span["parent_span_id"]].append(span)
    below = [span for span in found if span["kind"] == "server" and span["attributes"].get("rag.query_id") == query_id]
    for span in below:  # grows meanwhile
        below += children.pop(span["span_id"], [])
    return sorted(below, key=lambda span: int(span["start_ns"]))[:MAX_SPANS]


def _of_trace(folder: Path, trace_id: str) -> Iterator[Span]:
    wanted = trace_id.encode()
    for path in folder.glob(f"{FILE.partition('.')[0]}*.jsonl"):
        try:
            with path.open("rb") as lines:
                for line in lines:
                    if wanted in line and (span := json.loads(line))["trace_id"] == trace_id:
                        yield span
        except FileNotFoundError:  # removed meanwhile, as the oldest one
            continue
