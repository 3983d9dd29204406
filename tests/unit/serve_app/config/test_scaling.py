"""What `rag config check` compares between the replicas of a config file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from serve_app.config.file import load
from tests.support.config_files import ROOT, Raw, Refused, args, deployment, only

STAGES = ("embedding", "retrieval", "reranking", "generation", "ingress")


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


@pytest.mark.parametrize("name", ["generation", "ingress"])
@pytest.mark.parametrize(("given", "told"), [(None, r"is 20 \(Serve's default\)"), (299.5, "is 299.5")])
def test_a_replica_that_stops_has_time_for_the_longest_answer(
    production: Raw, refused: Refused, tmp_path: Path, name: str, given: float | None, told: str
) -> None:
    deployment(production, name)["graceful_shutdown_timeout_s"] = given
    if given is None:
        del deployment(production, name)["graceful_shutdown_timeout_s"]
    problem = only(refused(production))
    path = f"applications.0.deployments.{name}.graceful_shutdown_timeout_s"
    assert re.match(
        rf"{path}: {told}, and an answer may take 300 s \(applications.0.args.api.max_deadline_s\)", problem
    )
    args(production)["api"] = {"max_deadline_s": 20, "deadline_s": 20}
    assert is_accepted(production, tmp_path)


def test_an_update_of_the_cluster_s_file_takes_no_stage_down(production: Raw) -> None:
    """Ray rounds the surge up, so one replica is replaced by a second one that runs before it stops."""
    for name in STAGES:
        assert deployment(production, name)["max_surge_percent"] > 0, name
    single_gpu = load(ROOT / "cluster/single_host.yaml").raw
    assert "max_surge_percent" not in deployment(single_gpu, "generation")  # it would wait for a second GPU for ever


def test_the_gpus_of_a_replica_are_on_one_node_by_default(production: Raw, refused: Refused) -> None:
    assert load(ROOT / "serve_config.yaml").args.generation.one_node
    deployment(production, "generation")["placement_group_strategy"] = "PACK"
    problem = only(refused(production))
    assert problem.startswith("applications.0.deployments.generation.placement_group_strategy: would replace what")
    assert "generation.cpus, accelerator_type, tensor_parallel_size or one_node" in problem


def policy(raw: Raw) -> Raw:
    found: Raw = deployment(raw, "ingestion")["autoscaling_config"]["policy"]
    return found


def test_a_policy_must_exist_and_take_what_it_is_given(production: Raw, refused: Refused) -> None:
    field = "applications.0.deployments.ingestion.autoscaling_config.policy"
    policy(production)["policy_kwargs"] = {"documents_per_replica": 0}
    assert only(refused(production)).startswith(f"{field}.policy_kwargs: are refused by cluster.autoscaling.ingestion:")
    policy(production)["policy_kwargs"] = {"documents": 40}
    assert "unexpected keyword argument 'documents'" in only(refused(production))
    policy(production)["policy_function"] = "cluster.autoscaling.ingestion:Policy"
    assert only(refused(production)).startswith(f"{field}.policy_function: cannot be imported: ")
    policy(production)["policy_function"] = "cluster.autoscaling.nowhere:Policy"
    assert "No module named 'cluster.autoscaling.nowhere'" in refused(production)[0]
