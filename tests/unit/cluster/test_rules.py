"""The alerts, tried by promtool on series that are made up: each fires on what it is for, and on nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
OBSERVABILITY = ROOT / "cluster/observability"
RULES = OBSERVABILITY / "rules.yaml"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
BEGINS = 60
"""The minute in which what a case changes begins. Series have a value a minute."""

HEALTHY = {
    'ray_rag_first_token_seconds_bucket{le="2.5"}': "0+600x240",
    "ray_rag_first_token_seconds_count": "0+600x240",
    'ray_rag_requests_total{status="200"}': "0+600x240",
    'ray_rag_requests_total{status="503"}': "0+1x240",
    'ray_rag_questions_total{outcome="stop"}': "0+600x240",
    'ray_rag_questions_total{outcome="cancelled"}': "0+300x240",
    "ray_rag_ingestion_lag_seconds": "30x240",
    "ray_rag_slots": "8x240",
    "ray_rag_slots_used": "8x240",
    "ray_rag_slots_waited_for": "0x240",
    'ray_serve_health_check_failures_total{deployment="reranking"}': "0x240",
    'ray_serve_deployment_status{deployment="reranking"}': "6x240",
    "ray_rag_webhooks_waiting": "3x240",
    'up{job="rag"}': "1x240",
}

NOT_SCRAPED = "Prometheus gets no metrics of the service"


@dataclass(frozen=True)
class Case:
    """`changed`: series that are other than in a healthy service. `at`: the minute in which the alert fires, with
    `labels` beside its severity. `silent_at`: one in which it does not yet."""

    fires: str
    changed: dict[str, str]
    at: int
    silent_at: int
    summary: str
    labels: dict[str, str] = field(default_factory=dict)


def _late(a_minute: int) -> dict[str, str]:
    """So many of 600 answers begin late."""
    return {'ray_rag_first_token_seconds_bucket{le="2.5"}': _growing(600, 600 - a_minute)}


def _failing(metric: str, label: str, good: str, bad: str, a_minute: int) -> dict[str, str]:
    """So many of 600 fail."""
    return {
        f'{metric}{{{label}="{good}"}}': _growing(600, 600 - a_minute),
        f'{metric}{{{label}="{bad}"}}': _growing(0, a_minute),
    }


def _growing(before: int, after: int) -> str:
    """A counter that grows by so much a minute, before BEGINS and from then on."""
    return f"0+{before}x{BEGINS} {BEGINS * before + after}+{after}x180"


REQUESTS = ("ray_rag_requests_total", "status", "200", "503")
ANSWERS = ("ray_rag_questions_total", "outcome", "stop", "stage_unavailable")
RERANKING = {"deployment": "reranking"}
CASES = [
    Case("RagFirstTokenSlowFast", _late(180), 115, 70, "27.5% of answers begin later than 2.5 s"),
    Case("RagFirstTokenSlowSlow", _late(60), 210, 115, "7.143% of answers begin later than 2.5 s"),
    Case("RagRequestsFailFast", _failing(*REQUESTS, 60), 115, 70, "9.167% of requests fail with 5xx"),
    Case("RagRequestsFailSlow", _failing(*REQUESTS, 30), 210, 115, "3.571% of requests fail with 5xx"),
    Case("RagAnswersFailFast", _failing(*ANSWERS, 120), 115, 70, "12.22% of answers fail"),
    Case("RagAnswersFailSlow", _failing(*ANSWERS, 45), 210, 115, "3.571% of answers fail"),
    Case(
        "RagIngestionLags",
        {"ray_rag_ingestion_lag_seconds": f"30x{BEGINS} 901+60x60"},
        75,
        65,
        "a document has waited for 29m 1s to be indexed",
    ),
    Case(
        "RagGenerationSaturated",
        {"ray_rag_slots_waited_for": f"0x{BEGINS} 5x60"},
        75,
        65,
        "5 questions wait for a slot in generation",
    ),
    Case(
        "RagReplicaFlaps",
        {'ray_serve_health_check_failures_total{deployment="reranking"}': f"1x{BEGINS} 1+1x10 11x100"},
        70,
        61,
        "replicas of reranking fail again and again",
        RERANKING,
    ),
    Case(
        "RagDeploymentUnhealthy",
        {'ray_serve_deployment_status{deployment="reranking"}': f"6x{BEGINS} 2x60"},
        70,
        64,
        "reranking is not healthy",
        RERANKING,
    ),
    Case(
        "RagWebhooksPileUp",
        {"ray_rag_webhooks_waiting": f"3x{BEGINS} 101+1x60"},
        80,
        70,
        "120 messages to webhooks wait to be sent",
    ),
    Case("RagNotScraped", {'up{job="rag"}': f"1x{BEGINS} 0x60"}, 70, 64, NOT_SCRAPED, {"job": "rag"}),
    Case("RagNotScraped", {"ray_rag_slots": f"8x{BEGINS} stale"}, 70, 64, NOT_SCRAPED),
]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    assert found, "promtool is missing; `make system-libraries` installs Debian's `prometheus`"
    return found


def _run(promtool: str, folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}), "utf-8")
    return subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=240)


def _input(changed: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in (HEALTHY | changed).items()]


def _looked_for(name: str, minute: int, *alerts: dict[str, Any]) -> dict[str, Any]:
    return {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": [*alerts]}


def test_the_files_are_as_prometheus_wants_them(promtool: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a platform key")
    shutil.copy(RULES, tmp_path)
    scraping = (OBSERVABILITY / "prometheus.yaml").read_text("utf-8")
    (tmp_path / "prometheus.yaml").write_text(scraping.replace("/run/secrets/rag-platform-key", str(key)), "utf-8")
    for check in (["check", "config", "prometheus.yaml"], ["check", "rules", "--lint-fatal", "rules.yaml"]):
        said = subprocess.run([promtool, *check], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_has_a_case() -> None:
    assert {case.fires for case in CASES} == ALERTS.keys()


def test_a_healthy_service_fires_none(promtool: str, tmp_path: Path) -> None:
    looked = [_looked_for(name, minute) for name in ALERTS for minute in (30, 200)]
    said = _run(promtool, tmp_path, [{"interval": "1m", "input_series": _input({}), "alert_rule_test": looked}])
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fires)
def test_an_alert_fires_on_what_it_is_for_and_not_before(promtool: str, tmp_path: Path, case: Case) -> None:
    rule = ALERTS[case.fires]
    fired = {
        "exp_labels": rule["labels"] | case.labels,
        "exp_annotations": {"summary": case.summary, "runbook": rule["annotations"]["runbook"]},
    }
    objective = case.fires.removesuffix("Fast").removesuffix("Slow")
    looked = [
        _looked_for(case.fires, case.silent_at),
        _looked_for(case.fires, case.at, fired),
        *[_looked_for(other, case.at) for other in ALERTS if not other.startswith(objective)],
    ]
    said = _run(
        promtool, tmp_path, [{"interval": "1m", "input_series": _input(case.changed), "alert_rule_test": looked}]
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_s_runbook_is_a_section_of_operations_that_names_it(name: str) -> None:
    page, _, anchor = ALERTS[name]["annotations"]["runbook"].partition("#")
    parts = re.split(r"^### (.*)$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    sections = {
        re.sub(r"[^a-z0-9]+", "-", title.lower()): text for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert f"`{name}`" in sections[anchor]
