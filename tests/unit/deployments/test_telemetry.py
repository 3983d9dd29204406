from __future__ import annotations

import re
from pathlib import Path

from deployments.telemetry import spans
from deployments.telemetry.logs import LOG_FIELDS
from deployments.telemetry.metrics import METRICS

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"


def test_the_documents_list_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(ray_rag_\w+)` \| ([^|]*)\| (.*) \|$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    described = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels, _ in rows}
    assert described == {metric.exported_name: metric.labels for metric in METRICS}
    for metric in METRICS:
        [text] = [text for name, _, text in rows if name == metric.exported_name]
        assert metric.description.lower() in text.lower()


def test_names_are_given_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_the_documents_list_every_field_of_a_request_s_line() -> None:
    [_, logs] = OPERATIONS.read_text("utf-8").split("| field | what it is |")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", logs.split("\n\n")[0], re.MULTILINE)
    assert dict(rows) == LOG_FIELDS


def test_the_documents_list_every_span_and_attribute() -> None:
    text = OPERATIONS.read_text("utf-8")
    for heading, declared in (("span", spans.SPANS), ("attribute", spans.ATTRIBUTES)):
        [_, found] = text.split(f"| {heading} | what it is |")
        assert dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", found.split("\n\n")[0], re.MULTILINE)) == declared
    assert {*spans.OF_REQUEST} <= {*LOG_FIELDS}
    assert {*spans.OF_REQUEST.values()} <= {*spans.ATTRIBUTES}
