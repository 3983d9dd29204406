"""What `rag config check` compares between the replicas of a config file."""

from __future__ import annotations

from pathlib import Path

import yaml

from serve_app.config.file import load
from tests.support.config_files import Raw, Refused, args, deployment, only


def is_accepted(raw: Raw, folder: Path) -> bool:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load(path).raw == raw


def test_each_ingress_replica_of_a_node_needs_a_port_for_answers(
    production: Raw, refused: Refused, tmp_path: Path
) -> None:
    deployment(production, "ingress")["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 8}
    args(production)["api"] = {"answer_port": 21_000, "answer_ports": 15}
    assert only(refused(production)).startswith(
        "applications.0.args.api.answer_ports: is 15, and 16 replicas of ingress may be on one node"
    )
    args(production)["api"]["answer_ports"] = 16
    assert is_accepted(production, tmp_path)
    args(production)["api"] = {"answer_ports": 1}  # not used beside any free port
    assert is_accepted(production, tmp_path)


def test_the_ports_for_answers_must_exist(production: Raw, refused: Refused) -> None:
    args(production)["api"] = {"answer_port": 65_500}
    assert "answer_port + answer_ports reaches beyond port 65,535" in only(refused(production))
