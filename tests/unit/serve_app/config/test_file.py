from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.api.errors import RETRY_AFTER_S
from serve_app.config.combinations import DEPLOYMENTS
from serve_app.config.file import load
from serve_app.config.problems import ConfigError
from serve_app.config.replicas import max_replicas
from tests.support.config_files import ROOT, Raw, Refused, args, deployment, only

SHIPPED = ("cluster/local.yaml", "cluster/single_host.yaml", "serve_config.yaml")


# --- The files that ship.


def test_the_shipped_files_are_accepted(shipped: dict[str, Raw]) -> None:
    for raw in shipped.values():
        assert [each["name"] for each in raw["applications"][0]["deployments"]] == list(DEPLOYMENTS)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_has_the_same_limits(name: str) -> None:
    raw = load(ROOT / name).raw
    for each in raw["applications"][0]["deployments"]:
        ongoing = 256 if each["name"] in ("generation", "ingress") else 64
        assert (each["max_ongoing_requests"], each["max_queued_requests"]) == (ongoing, 128), each["name"]
    assert deployment(raw, "ingress")["backpressure_config"] == {"retry_after_s": RETRY_AFTER_S}
    assert raw["http_options"]["keep_alive_timeout_s"] == 90
    assert raw["http_options"]["request_timeout_s"] == 960
    drained = {
        each.get("graceful_shutdown_timeout_s") for each in (deployment(raw, "ingress"), deployment(raw, "generation"))
    }
    assert drained == {300}


def test_the_local_file_needs_no_gpu_no_server_and_no_download() -> None:
    local = load(ROOT / "cluster/local.yaml")
    assert local.raw["http_options"]["host"] == "127.0.0.1"
    assert local.args.retrieval.embedded
    assert local.args.store.embedded
    assert local.args.blobs.embedded
    assert (local.args.embedding.model, local.args.reranking.model) == ("multilingual-e5-small", "all-MiniLM-L6-v2")
    assert local.args.generation.engine == "auto"


def test_the_production_file_has_one_number_for_tensor_parallelism_and_shares_gpus() -> None:
    production = load(ROOT / "serve_config.yaml")
    assert production.args.generation.tensor_parallel_size == 1
    assert production.args.local_stores() == {}
    for name in ("embedding", "reranking"):
        assert 0 < deployment(production.raw, name)["ray_actor_options"]["num_gpus"] < 1
    for name in DEPLOYMENTS:
        assert max_replicas(deployment(production.raw, name)) > 1


def test_serve_itself_reads_the_shipped_files(shipped: dict[str, Raw]) -> None:
    from ray.serve.schema import ServeDeploySchema

    for name in shipped:
        ServeDeploySchema.model_validate(yaml.safe_load((ROOT / name).read_text()))


def test_another_data_folder_reaches_serve_and_reader(tmp_path: Path) -> None:
    file = load(ROOT / "cluster/local.yaml")
    moved = file.with_data_dir(tmp_path)
    assert moved.args.data_path == tmp_path
    assert args(moved.raw)["data_dir"] == str(tmp_path)
    assert args(file.raw)["data_dir"] == "var"


# --- YAML.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1\nb: 2\n", "line 2: not valid YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: not valid YAML: c is given twice"),
        ("[a, b]: 1\n", "line 1: not valid YAML: a key must be plain text"),
        ("- a\n", "file: must be a mapping"),
        ("", "file: must be a mapping"),
        ("a: !!python/object:os.system {}\n", "line 1: not valid YAML"),
        ("a: \x00\n", "file: not valid YAML"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert only(error.value.problems).startswith(problem)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file: No such file"):
        load(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "binary.yaml")


# --- Unknown keys, at every depth of Serve's part and of ours.


@pytest.mark.parametrize(
    ("path", "key", "problem"),
    [
        ((), "http_option", "http_option: unknown key; did you mean http_options?"),
        ((), "zzz", "zzz: unknown key; known here: proxy_location, http_options"),
        (("http_options",), "hots", "http_options.hots: unknown key; did you mean host?"),
        (("grpc_options",), "prot", "grpc_options.prot: unknown key; did you mean port?"),
        (("logging_config",), "log_levle", "logging_config.log_levle: unknown key; did you mean log_level?"),
        (("applications", 0), "import_pth", "applications.0.import_pth: unknown key; did you mean import_path?"),
        (("applications", 0, "logging_config"), "encodin", "applications.0.logging_config.encodin: unknown key"),
        (
            ("applications", 0, "deployments", 0),
            "max_ongoing_request",
            "applications.0.deployments.embedding.max_ongoing_request: unknown key; did you mean max_ongoing_requests?",
        ),
        (
            ("applications", 0, "deployments", 0, "ray_actor_options"),
            "num_gpu",
            "applications.0.deployments.embedding.ray_actor_options.num_gpu: unknown key; did you mean num_gpus?",
        ),
        (
            ("applications", 0, "deployments", 0, "autoscaling_config"),
            "max_replica",
            "applications.0.deployments.embedding.autoscaling_config.max_replica: unknown key; did you mean",
        ),
        (
            ("applications", 0, "deployments", 0, "autoscaling_config", "policy"),
            "policy_functio",
            "applications.0.deployments.embedding.autoscaling_config.policy.policy_functio: unknown key",
        ),
        (
            ("applications", 0, "deployments", 0, "request_router_config"),
            "request_router_clas",
            "applications.0.deployments.embedding.request_router_config.request_router_clas: unknown key",
        ),
        (
            ("applications", 0, "deployments", 0, "logging_config"),
            "logs_dri",
            "applications.0.deployments.embedding.logging_config.logs_dri: unknown key; did you mean logs_dir?",
        ),
        (("applications", 0, "args"), "embeding", "applications.0.args.embeding: unknown key; did you mean embedding?"),
        (
            ("applications", 0, "args", "generation"),
            "tensor_paralel_size",
            "applications.0.args.generation.tensor_paralel_size: unknown key; did you mean tensor_parallel_size?",
        ),
    ],
)
def test_an_unknown_key(production: Raw, refused: Refused, path: tuple[str | int, ...], key: str, problem: str) -> None:
    place: Any = production
    for part in path:
        if isinstance(place, dict):
            place.setdefault(part, {})
        place = place[part]
    place[key] = 1
    assert only(refused(production)).startswith(problem)


def test_free_mappings_stay_free(production: Raw, tmp_path: Path) -> None:
    args(production)["generation"]["engine_kwargs"] = {"anything": 1}
    deployment(production, "retrieval")["ray_actor_options"]["resources"] = {"of_our_own": 1}
    deployment(production, "retrieval")["user_config"] = {"whatever": {"is": "here"}}
    path = tmp_path / "free.yaml"
    path.write_text(yaml.safe_dump(production))
    load(path)


def test_every_problem_is_told_at_once(local: Raw, refused: Refused) -> None:
    local["proxy_locatoin"] = "HeadOnly"
    deployment(local, "ingress")["max_queued_request"] = 1
    deployment(local, "ingress")["max_ongoing_requests"] = "many"
    assert {problem.split(":")[0] for problem in refused(local)} == {
        "proxy_locatoin",
        "applications.0.deployments.ingress.max_queued_request",
        "applications.0.deployments.ingress.max_ongoing_requests",
    }


# --- Shapes and values.


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda raw: raw.update(http_options="here"), "http_options"),
        (lambda raw: raw["http_options"].update(port="many"), "http_options.port"),
        (lambda raw: raw.update(proxy_location="Nowhere"), "proxy_location"),
        (lambda raw: raw.pop("applications"), "applications"),
        (lambda raw: raw.update(applications=None), "applications"),
        (lambda raw: raw.update(applications={}), "applications"),
        (lambda raw: raw["applications"][0].update(args="none"), "applications.0.args"),
        (lambda raw: raw["applications"][0].update(deployments=["embedding"]), "applications.0.deployments.0"),
        (lambda raw: raw["applications"][0]["deployments"].append(None), "applications.0.deployments.6"),
        (lambda raw: deployment(raw, "ingress").pop("name"), "applications.0.deployments.5.name"),
        (
            lambda raw: deployment(raw, "ingress").update(num_replicas=0),
            "applications.0.deployments.ingress.num_replicas",
        ),
        (
            lambda raw: deployment(raw, "embedding").update(num_replicas=None, autoscaling_config={"max_replicas": 0}),
            "applications.0.deployments.embedding.autoscaling_config.max_replicas",
        ),
        (
            lambda raw: deployment(raw, "embedding").update(
                num_replicas=None, autoscaling_config={"min_replicas": 3, "max_replicas": 2}
            ),
            "applications.0.deployments.embedding.autoscaling_config",
        ),
        (
            lambda raw: deployment(raw, "embedding").update(autoscaling_config={"max_replicas": 2}),
            "applications.0.deployments.embedding",
        ),
        (lambda raw: args(raw)["embedding"].update(device="tpu"), "applications.0.args.embedding.device"),
        (lambda raw: args(raw)["store"].update(url="mysql://x"), "applications.0.args.store.url"),
        (lambda raw: args(raw).update(api={"top_k": 90}), "applications.0.args.api"),
    ],
)
def test_a_wrong_shape_or_value_is_told_by_its_field(
    local: Raw, refused: Refused, change: Callable[[Raw], Any], field: str
) -> None:
    change(local)
    assert only(refused(local)).split(":")[0] == field


def test_a_wrong_choice_shows_the_choices_and_a_secret_is_not_repeated(local: Raw, refused: Refused) -> None:
    args(local)["generation"]["engine"] = "gpt"
    assert "'extractive'" in only(refused(local))
    assert "'gpt'" in only(refused(local))
    args(local)["generation"]["engine"] = "auto"
    args(local)["store"]["url"] = "postgresql://rag:swordfish@host/rag"
    assert "swordfish" not in only(refused(local))


def test_an_impossible_combination_of_args_is_named(production: Raw, refused: Refused) -> None:
    args(production)["generation"]["engine"] = "auto"
    assert only(refused(production)).startswith("applications.0.args: generation.engine")


# --- What each part allows, but not together.


def test_there_is_exactly_one_application(local: Raw, refused: Refused) -> None:
    local["applications"].append({**local["applications"][0], "name": "other", "route_prefix": "/other"})
    assert only(refused(local)).startswith("applications: 2 are listed")
    local["applications"] = []
    assert only(refused(local)).startswith("applications: 0 are listed")


def test_the_application_is_ours_and_at_the_root(local: Raw, refused: Refused) -> None:
    local["applications"][0] |= {"import_path": "other.app:build", "route_prefix": "/rag"}
    problems = refused(local)
    assert problems[0].startswith("applications.0.import_path: must be serve_app.app:build_app")
    assert problems[1].startswith("applications.0.route_prefix")


def test_the_host_must_be_said(local: Raw, refused: Refused) -> None:
    del local["http_options"]["host"]
    assert only(refused(local)).startswith("http_options.host: is missing")
    del local["http_options"]
    assert [problem.partition(": ")[0] for problem in refused(local)] == [
        "http_options.host", "http_options.request_timeout_s",
    ]  # fmt: skip


@pytest.mark.parametrize(("given", "told"), [(None, "is missing"), (900, "is 900"), (0, "is 0")])
def test_serve_s_time_limit_is_above_the_longest_answer(
    local: Raw, refused: Refused, given: float | None, told: str
) -> None:
    local["http_options"]["request_timeout_s"] = given
    problem = only(refused(local))
    assert problem.startswith(f"http_options.request_timeout_s: {told}, and an answer may take 900 s")


def test_deployments_are_the_six(local: Raw, refused: Refused) -> None:
    deployment(local, "ingestion")["name"] = "ingestoin"
    assert [problem.split(";")[0] for problem in refused(local)] == [
        "applications.0.deployments.ingestoin: no such deployment",
        "applications.0.deployments.ingestion: is missing",
    ]
    deployment(local, "ingestoin")["name"] = "ingress"
    assert refused(local)[0].startswith("applications.0.deployments.ingress: is listed twice")


@pytest.mark.parametrize("name", DEPLOYMENTS)
@pytest.mark.parametrize("bound", ["max_ongoing_requests", "max_queued_requests"])
def test_every_deployment_is_bounded(local: Raw, refused: Refused, name: str, bound: str) -> None:
    del deployment(local, name)[bound]
    assert only(refused(local)).startswith(f"applications.0.deployments.{name}.{bound}: is missing")


def test_no_limit_is_no_bound(local: Raw, refused: Refused) -> None:
    deployment(local, "ingress")["max_queued_requests"] = -1
    assert only(refused(local)).startswith("applications.0.deployments.ingress.max_queued_requests")


@pytest.mark.parametrize(
    ("store", "server", "owners"),
    [
        ("retrieval.uri", "http://milvus:19530", ("retrieval",)),
        ("store.url", "postgresql://rag@db/rag", ("ingress", "ingestion")),
        ("blobs.url", "s3://bucket/prefix", ("ingress", "ingestion")),
    ],
)
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"num_replicas": 2}, "num_replicas"),
        ({"num_replicas": "auto"}, "num_replicas"),
        ({"num_replicas": None, "autoscaling_config": {"max_replicas": 3}}, "autoscaling_config.max_replicas"),
        ({"num_replicas": "auto", "autoscaling_config": {"max_replicas": 3}}, "autoscaling_config.max_replicas"),
        ({"max_surge_percent": 50}, "max_surge_percent"),
        ({"ray_actor_options": {"num_cpus": 2}}, "ray_actor_options"),
    ],
)
def test_a_local_store_has_one_owner_on_the_head_node(
    production: Raw, refused: Refused, store: str, server: str, owners: tuple[str, ...], options: Raw, field: str
) -> None:
    """Only the store in question is local; each of its owners in turn breaks the rule, the others keep it."""
    stage, name = store.split(".")
    args(production)[stage][name] = "sqlite:///rag.db" if stage == "store" else "a-folder"
    bounds = {"max_ongoing_requests": 256, "max_queued_requests": 128, "graceful_shutdown_timeout_s": 300}
    alone = {"num_replicas": 1, **bounds}
    for broken in owners:
        for owner in owners:
            kept = {"name": owner, **alone}
            entry = deployment(production, owner)
            entry.clear()
            entry.update({**kept, **options} if owner == broken else kept)
        problem = only(refused(production))
        assert problem.startswith(f"applications.0.deployments.{broken}.{field}: ")
        assert f"applications.0.args.{store}" in problem


def test_an_owner_that_can_only_be_one_replica_is_accepted(local: Raw, tmp_path: Path) -> None:
    deployment(local, "retrieval").update(num_replicas=None, autoscaling_config={"min_replicas": 1, "max_replicas": 1})
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(local))
    load(path)


@pytest.mark.parametrize("name", ["embedding", "reranking"])
def test_device_and_gpus_belong_together(production: Raw, refused: Refused, name: str) -> None:
    field = f"applications.0.deployments.{name}.ray_actor_options.num_gpus"
    deployment(production, name)["ray_actor_options"] = {"num_cpus": 1}
    assert only(refused(production)).startswith(f"{field}: is missing, but")
    deployment(production, name)["ray_actor_options"] = {"num_gpus": 0.25}
    args(production)[name]["device"] = "cpu"
    assert only(refused(production)).startswith(f"{field}: reserves a GPU")


def test_a_fake_may_take_logical_gpus(production: Raw, tmp_path: Path) -> None:
    for name in ("embedding", "reranking"):
        args(production)[name] = {"backend": "fake"}
    path = tmp_path / "fakes.yaml"
    path.write_text(yaml.safe_dump(production))
    load(path)


@pytest.mark.parametrize(
    "options",
    [
        {"ray_actor_options": {"num_gpus": 1}},
        {"placement_group_bundles": [{"GPU": 1}]},
        {"placement_group_bundles": [{"GPU": 1}], "placement_group_strategy": "PACK"},
    ],
)
def test_generation_on_vllm_takes_its_resources_from_args(production: Raw, refused: Refused, options: Raw) -> None:
    deployment(production, "generation").update(options)
    problems = refused(production)
    assert [problem.split(":")[0] for problem in problems] == [
        f"applications.0.deployments.generation.{field}" for field in options
    ]
    assert all("args.generation" in problem for problem in problems)


def test_generation_without_vllm_may_have_resources(production: Raw, tmp_path: Path) -> None:
    args(production)["generation"] = {"engine": "extractive"}
    deployment(production, "generation")["ray_actor_options"] = {"num_cpus": 1}
    path = tmp_path / "extractive.yaml"
    path.write_text(yaml.safe_dump(production))
    load(path)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 1),
        ({"num_replicas": 3}, 3),
        ({"num_replicas": "auto"}, 100),
        ({"num_replicas": "auto", "autoscaling_config": {"min_replicas": 1}}, 100),
        ({"autoscaling_config": {}}, 1),
        ({"autoscaling_config": {"max_replicas": 7}}, 7),
    ],
)
def test_how_many_replicas_a_deployment_may_grow_to(options: Raw, most: int) -> None:
    assert max_replicas(options) == most


def test_questions_wait_in_the_ingress_and_not_before_it(local: Raw, refused: Refused) -> None:
    deployment(local, "ingress")["max_ongoing_requests"] = 128
    assert only(refused(local)).startswith("applications.0.deployments.ingress.max_ongoing_requests: is 128, and ")
