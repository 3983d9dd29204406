"""Traces of questions, read from the files of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.errors import NotFound
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.span_files import spans_of_query
from serve_app.platform.query_log import QueryLog


class QueryTraces:
    def __init__(self, query_log: QueryLog, telemetry: TelemetryConfig) -> None:
        self._query_log = query_log
        self._telemetry = telemetry

    async def get(self, tenant_id: str, query_id: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """The id of a question's trace, and the spans of the question, as `spans_of_query` gives them.

        Raises NotFound unless the tenant has the question and this node has its spans.
        """
        trace_id = (await self._query_log.get(tenant_id, query_id)).trace_id
        if self._telemetry.exporter != "file":
            where = "nowhere" if self._telemetry.exporter == "none" else "to a collector: look there"
            raise NotFound(f"spans go {where} (telemetry.exporter); the trace of query {query_id!r} is {trace_id}")
        found = await asyncio.to_thread(spans_of_query, Path(self._telemetry.folder), trace_id, query_id)
        if not found:
            raise NotFound(
                f"the node that answers has no span of query {query_id!r}: they are there a second after its end, if "
                f"it was sampled, until newer ones take their place (telemetry); the trace is {trace_id}"
            )
        return trace_id, found
