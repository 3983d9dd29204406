"""What spans are handed to at their end. A vendor's exporter is imported only when it is chosen."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_never

from filelock import FileLock, Timeout
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, format_span_id, format_trace_id

from deployments.telemetry.config import TelemetryConfig

FILE = "traces.jsonl"
"""The file that is written. Full ones are `traces.1.jsonl`, the newest, and so on."""
_LOCK_S = 5.0
logger = logging.getLogger(__name__)


def create(config: TelemetryConfig) -> SpanExporter | None:
    match config.exporter:
        case "none":
            return None
        case "file":
            return FileExporter(Path(config.folder), config.max_file_bytes, config.max_files)
        case "otlp_grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

            return grpc.OTLPSpanExporter(endpoint=config.endpoint, insecure=config.endpoint.startswith("http://"))
        case "otlp_http":
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

            return http.OTLPSpanExporter(endpoint=config.endpoint)
        case _:
            assert_never(config.exporter)


class FileExporter(SpanExporter):
    """Appends each span as a line of JSON to a file that all processes of the node share.

    A batch that would make the file longer than `max_bytes` begins the next one, and `max_files` are kept. A batch that
    alone is longer is written in parts.
    """

    def __init__(self, folder: Path, max_bytes: int, max_files: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._has_warned = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = [line_of(span) for span in spans]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{FILE}.lock", timeout=_LOCK_S):
                while lines:
                    lines = self._append(lines)
        except (OSError, Timeout) as error:
            self._warn_once(error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _warn_once(self, error: Exception) -> None:
        """Once in this process: it comes again with each batch, and the service goes on without traces."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "spans are lost, as telemetry.folder %s cannot be written; this is said once: %s", self._folder, error
            )

    def _append(self, lines: list[bytes]) -> list[bytes]:
        """Write what the file has room for, and return the rest. A line that is too long for any file is left out."""
        path = self._folder / FILE
        size = path.stat().st_size if path.exists() else 0
        count = 0
        while count < len(lines) and size + len(lines[count]) <= self._max_bytes:
            size += len(lines[count])
            count += 1
        if count:
            with path.open("ab") as file:
                file.write(b"".join(lines[:count]))
        elif not path.exists() or len(lines[0]) > self._max_bytes:
            return lines[1:]
        else:
            self._rotate(path)
        return lines[count:]

    def _rotate(self, path: Path) -> None:
        if self._max_files == 1:
            path.unlink()
            return
        for number in range(self._max_files - 1, 0, -1):
            older = path if number == 1 else self._folder / f"traces.{number - 1}.jsonl"
            if older.exists():
                os.replace(older, self._folder / f"traces.{number}.jsonl")

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def line_of(span: ReadableSpan) -> bytes:
    """A span as one line of JSON. Times are nanoseconds since 1970. `service` is the deployment.

    OpenTelemetry's own `to_json` takes three times as long, and repeats the resource's attributes on each line.
    """
    context, resource = span.get_span_context(), span.resource.attributes
    assert context is not None
    record: dict[str, Any] = {
        "name": span.name,
        **_ids(context),
        "parent_span_id": format_span_id(span.parent.span_id) if span.parent is not None else None,
        "kind": span.kind.name.lower(),
        "service": resource.get("service.name"),
        "replica": resource.get("service.instance.id"),
        "node": resource.get("host.name"),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name.lower(),
        "attributes": dict(span.attributes or {}),
        "events": [{"name": event.name, "at_ns": event.timestamp} for event in span.events],
        "links": [_ids(link.context) for link in span.links if isinstance(link, Link)],
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _ids(context: SpanContext) -> dict[str, str]:
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
