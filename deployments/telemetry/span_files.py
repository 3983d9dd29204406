"""Reads spans back from the files of a node, where `telemetry.exporter` is `file`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from deployments.telemetry.exporters import FILE

MAX_SPANS: Final = 1_000
"""Of one question. An answer has some forty; those that began last are left out."""
MAX_READ: Final = 20_000
"""Of one trace, the newest files first. A caller can give all requests one trace, and the files hold 100,000 spans."""
Span = Mapping[str, Any]
"""As `exporters.line_of` writes it."""


def spans_of_query(folder: Path, trace_id: str, query_id: str) -> list[Span]:
    """The span of the request that asked the question, then all below it by their beginnings. Empty if the node has
    none. Blocks while it reads all files.

    Other requests of the trace are left out, also those below the request: a caller may give many one trace, and say
    that one is below another, also of another tenant.
    """
    children: dict[str | None, list[Span]] = defaultdict(list)
    asked = None
    for span in islice(_of_trace(folder, trace_id), MAX_READ):
        if not _is_request(span):
            children[span["parent_span_id"]].append(span)
        elif span["attributes"].get("rag.query_id") == query_id:
            asked = span
    if asked is None:
        return []
    below = [asked]
    for span in below:  # grows meanwhile
        below += children.pop(span["span_id"], [])
    return [asked, *sorted(below[1:], key=lambda span: int(span["start_ns"]))][:MAX_SPANS]


def _is_request(span: Span) -> bool:
    return "http.request.method" in span["attributes"]


def _of_trace(folder: Path, trace_id: str) -> Iterator[Span]:
    wanted = trace_id.encode()
    # The file that is written, then traces.1.jsonl and so on.
    files = sorted(
        folder.glob(f"{FILE.partition('.')[0]}*.jsonl"), key=lambda path: (path.name != FILE, len(path.name), path.name)
    )
    for path in files:
        try:
            with path.open("rb") as lines:
                for line in lines:
                    if wanted in line and (span := json.loads(line))["trace_id"] == trace_id:
                        yield span
        except FileNotFoundError:  # removed meanwhile, as the oldest one
            continue
