"""Grafana's dashboards: made by a program that is type-checked against Grafana's own schema."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from cluster.observability import dashboards
from deployments.telemetry.metrics import METRICS

WRITTEN = dict(dashboards.files())
OF_HISTOGRAM = ("_bucket", "_sum", "_count")
RULES = Path(dashboards.__file__).with_name("rules.yaml")
RECORDED = {
    rule["record"]
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "record" in rule
}
EXPRESSIONS = [
    *[query for panels in dashboards.DASHBOARDS.values() for panel in panels for query in panel.queries],
    *[rule["expr"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]],
]


@pytest.mark.parametrize("path", [*WRITTEN], ids=lambda path: path.stem)
def test_the_files_are_what_the_program_writes(path: Path) -> None:
    text = WRITTEN[path]
    assert path.read_text("utf-8") == text, "make reference"
    panels = json.loads(text)["panels"]
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels]
    assert all(earlier < later for earlier, later in pairwise(places))
    assert all(panel["datasource"]["uid"] == "${source}" for panel in panels)


def test_there_is_no_other_dashboard() -> None:
    assert {*dashboards.FOLDER.iterdir()} == WRITTEN.keys()


def test_dashboards_and_rules_name_only_metrics_that_there_are() -> None:
    named = {name for expression in EXPRESSIONS for name in re.findall(r"\bray_rag_\w+", expression)}
    there = {metric.exported_name for metric in METRICS}
    there |= {metric.exported_name + end for metric in METRICS if metric.kind == "histogram" for end in OF_HISTOGRAM}
    assert named <= there
    assert {name for text in EXPRESSIONS for name in re.findall(r"\brag:\w+:\w+", text)} <= RECORDED


def test_every_metric_is_on_a_dashboard() -> None:
    shown = " ".join(EXPRESSIONS)
    unseen = {metric.exported_name for metric in METRICS if metric.exported_name not in shown}
    assert unseen == set()
