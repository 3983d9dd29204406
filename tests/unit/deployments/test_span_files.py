"""Files of spans: a line each, bounded, and shared by the processes of a node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags
from pydantic import ValidationError

from deployments.errors import StageUnavailable
from deployments.telemetry import exporters, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.exporters import FileExporter, line_of
from tests.support.traces import kept_spans

LINK = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))


def spans_of(count: int, text: str = "") -> list[ReadableSpan]:
    with kept_spans() as kept:
        for number in range(count):
            root = tracing.begin_trace(f"number {number}", {}, links=[LINK])
            root.set_attribute("text", text)
            tracing.end(tracing.begin("child", parent=root), StageUnavailable("away"))
            tracing.end(root)
        return kept.all


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_line_has_what_the_span_has() -> None:
    child, root = (json.loads(line_of(span)) for span in spans_of(1, "č"))
    assert (root["name"], root["parent_span_id"], root["attributes"]) == ("number 0", None, {"text": "č"})
    assert root["links"] == [{"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}]
    assert (child["trace_id"], child["parent_span_id"]) == (root["trace_id"], root["span_id"])
    assert (child["status"], child["attributes"]) == ("error", {"error.type": "stage_unavailable"})
    assert root["start_ns"] <= child["start_ns"] <= child["end_ns"] <= root["end_ns"]
    assert (root["service"], root["kind"]) == ("rag-test", "server")


def test_files_are_bounded_and_the_newest_are_kept(tmp_path: Path) -> None:
    made = spans_of(40)
    limit = 5 * max(len(line_of(span)) for span in made)
    exporter = FileExporter(tmp_path, limit, 3)
    for start in range(0, len(made), 4):
        assert exporter.export(made[start : start + 4]) is SpanExportResult.SUCCESS
    files = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert files == ["traces.1.jsonl", "traces.2.jsonl", "traces.jsonl"]
    assert all((tmp_path / name).stat().st_size <= limit for name in files)
    newest = [line for name in ("traces.2.jsonl", "traces.1.jsonl", "traces.jsonl") for line in lines(tmp_path / name)]
    assert newest == [json.loads(line_of(span)) for span in made[-len(newest) :]]


def test_one_file_begins_anew(tmp_path: Path) -> None:
    made = spans_of(10)
    FileExporter(tmp_path, 3 * max(len(line_of(span)) for span in made), 1).export(made)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["traces.jsonl"]
    assert lines(tmp_path / "traces.jsonl")[-1]["name"] == "number 9"


def test_a_batch_that_is_longer_than_a_file_is_parted_and_a_span_that_is_is_left_out(tmp_path: Path) -> None:
    long, short = spans_of(1, "x" * 5_000), spans_of(6)
    FileExporter(tmp_path, 4_096, 9).export([*short, *long, *short])
    names = [line["name"] for path in sorted(tmp_path.glob("*.jsonl")) for line in lines(path)]
    assert len(names) == 2 * len(short) + 1  # of the long one its child
    assert all(path.stat().st_size <= 4_096 for path in tmp_path.glob("*.jsonl"))


def test_a_folder_that_cannot_be_written_fails_the_export_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert FileExporter(tmp_path / "file", 4_096, 1).export(spans_of(1)) is SpanExportResult.FAILURE


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    exporter = FileExporter(folder, 4_096, 1)
    for _ in range(3):
        exporter.export(spans_of(1))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"telemetry.folder {folder}" in record.getMessage()


_WRITER = """
import sys
from deployments.telemetry import tracing
from deployments.telemetry.config import TelemetryConfig
tracing.start(TelemetryConfig(exporter="file", folder=sys.argv[1], sampling_ratio=1, max_files=50), "writer")
for number in range(200):
    tracing.end(tracing.begin_trace(f"{sys.argv[2]}-{number}", {}))
"""


def test_processes_share_a_file_and_lose_nothing_at_their_end(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(number)]) for number in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    names = {str(line["name"]) for path in tmp_path.glob("*.jsonl") for line in lines(path)}
    assert names == {f"{writer}-{number}" for writer in range(3) for number in range(200)}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"exporter": "otlp_grpc"}, "telemetry.endpoint"),
        ({"endpoint": "http://c:4317"}, "telemetry.exporter"),
        ({"exporter": "otlp_http", "endpoint": "c:4317"}, "endpoint"),
        ({"sampling_ratio": 1.5}, "sampling_ratio"),
        ({"exporter": "zipkin"}, "exporter"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        TelemetryConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("name", "endpoint"), [("otlp_grpc", "http://c:4317"), ("otlp_http", "http://c:4318/v1/traces")]
)
def test_a_collector_s_exporter_is_there(name: str, endpoint: str) -> None:
    exporter = exporters.create(TelemetryConfig.model_validate({"exporter": name, "endpoint": endpoint}))
    assert exporter is not None
    exporter.shutdown()


def test_without_an_exporter_nothing_is_traced() -> None:
    tracing.start(TelemetryConfig(), "test")
    root = tracing.begin_trace("x", {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    assert not root.is_recording()
    assert tracing.traceparent(root).startswith(f"00-{'1' * 32}-")
    assert not tracing.begin("y", parent=root).is_recording()
