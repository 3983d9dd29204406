"""cluster/docker-compose.yml and the config that it starts, as far as they show without Docker or a GPU."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from serve_app.config.file import ConfigFile, load

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "cluster" / "docker-compose.yml"
EXAMPLE = ROOT / "cluster" / "single_host.env.example"
Raw = dict[str, Any]

FILE: Raw = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: Raw = FILE["services"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
SECRET = re.compile(r"PASSWORD|TOKEN|KEY|SECRET")


def waits() -> Iterator[tuple[str, str, str]]:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            yield name, other, how["condition"]


ONE_SHOT = {other for _, other, condition in waits() if condition == "service_completed_successfully"}
LONG_RUNNING = sorted(set(SERVICES) - ONE_SHOT)


def texts(value: Any) -> Iterator[str]:
    """Every string of a YAML value, keys left out."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def without_variables(text: str) -> str:
    """The text with the default of each variable, or nothing, in its place."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == "-" else "", text)


def example() -> dict[str, str]:
    lines = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pairs = {name: value for name, _, value in (line.partition("=") for line in lines)}
    assert len(pairs) == len(lines)
    return pairs


def config_path(service: str) -> Path:
    command: list[str] = SERVICES[service]["command"]
    return Path(command[command.index("--config") + 1])


@pytest.fixture(scope="module", name="config")
def _config() -> ConfigFile:
    return load(ROOT / config_path("rag"))


# --- The schema of the Compose specification.


def schema_check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_file_follows_the_compose_specification() -> None:
    checked = schema_check(COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("written", "misspelt"),
    [
        ("\nnetworks:\n", "\nnetwroks:\n"),
        ("    stop_grace_period: ", "    stop_grace_periode: "),
        ("      start_period: ", "      start_periode: "),
        ("{ condition: service_healthy }", "{ conditoin: service_healthy }"),
        ("reservations:", "reservation:"),
        ("{ internal: true }", "{ intern: true }"),
    ],
)
def test_a_misspelt_key_is_refused(tmp_path: Path, written: str, misspelt: str) -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    assert written in text
    path = tmp_path / "docker-compose.yml"
    path.write_text(text.replace(written, misspelt, 1), encoding="utf-8")
    checked = schema_check(path)
    assert checked.returncode == 1
    assert misspelt.strip(" {\n").partition(":")[0] in checked.stdout


# --- Images.


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_a_version(name: str) -> None:
    _, _, tag = without_variables(SERVICES[name]["image"]).rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z]+)?", tag)


def test_our_image_is_built_here_under_the_project_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert SERVICES["rag"]["image"] == SERVICES["models"]["image"] == f"rag-serve:{version}"
    build = SERVICES["rag"]["build"]
    assert (COMPOSE.parent / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert [name for name, service in SERVICES.items() if "build" in service] == ["rag"]


def test_the_volumes_of_our_image_are_named_ones() -> None:
    (line,) = re.findall(r"^VOLUME (\[.*\])$", (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8"), re.MULTILINE)
    assert {volume.split(":")[1] for volume in SERVICES["rag"]["volumes"]} == set(yaml.safe_load(line))


# --- Order and health.


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_on_is_health_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"


def test_what_ends_is_the_models_alone_and_is_not_started_again() -> None:
    assert {"models"} == ONE_SHOT
    assert "restart" not in SERVICES["models"]


def test_nobody_waits_for_what_never_comes() -> None:
    assert list(waits())
    for name, other, condition in waits():
        assert other in SERVICES
        assert not set(SERVICES[other].get("profiles", [])) - set(SERVICES[name].get("profiles", []))
        if condition == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        else:
            assert condition == "service_completed_successfully"


def test_the_service_starts_after_its_stores_and_the_platform_after_the_service() -> None:
    assert set(SERVICES["rag"]["depends_on"]) == {"postgres", "milvus", "models"}
    assert set(SERVICES["platform"]["depends_on"]) == {"rag"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"platform": ["platform"], "prometheus": ["observability"], "grafana": ["observability"]}


def test_answers_under_way_can_be_finished(config: ConfigFile) -> None:
    deployments = config.raw["applications"][0]["deployments"]
    longest = max(each.get("graceful_shutdown_timeout_s", 0) for each in deployments)
    assert longest >= config.args.api.max_deadline_s
    assert float(SERVICES["rag"]["command"][-1]) >= longest
    assert int(SERVICES["rag"]["stop_grace_period"].removesuffix("s")) > longest


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (302, True), (404, False), (500, False), (None, False)])
def test_the_platform_s_health_check_works_in_bash(status: int | None, healthy: bool) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    def check(port: int) -> int:
        *command, script = SERVICES["platform"]["healthcheck"]["test"][1:]
        script = script.replace("$$", "$").replace("/127.0.0.1/4000", f"/127.0.0.1/{port}")
        return subprocess.run([*command, script], capture_output=True, timeout=20, check=False).returncode

    if status is None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        assert check(port) != 0
        return
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            assert (check(server.server_port) == 0) is healthy
        finally:
            server.shutdown()
            thread.join()


# --- Networks, ports, volumes.


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def test_ports_are_published_on_loopback_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"rag", "platform", "prometheus", "grafana"}
    for ports in published.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_the_stores_have_no_way_out_and_the_rest_has() -> None:
    internal = {name for name, network in FILE["networks"].items() if network.get("internal")}
    assert internal == {"backend"}
    for name in SERVICES:
        assert (networks(name) <= internal) is (name in {"postgres", "milvus"})


@pytest.mark.parametrize("kind", ["networks", "volumes", "configs", "secrets"])
def test_what_is_named_is_declared_and_the_other_way_round(kind: str) -> None:
    used = {
        each["source"] if isinstance(each, dict) else each.split(":")[0]
        for service in SERVICES.values()
        for each in service.get(kind, [])
    }
    of_the_project = {each for each in used if each.startswith("./")}
    assert used - of_the_project == set(FILE[kind])
    assert all((COMPOSE.parent / path).exists() for path in of_the_project)


# --- The environment and its secrets.


def test_the_example_lists_the_variables_and_no_others() -> None:
    used = {found[1] for text in texts(FILE) for found in VARIABLE.finditer(text)}
    used |= {secret["environment"] for secret in FILE["secrets"].values()}
    assert used == set(example())
    assert not re.search(r"(?<!\$)\$(?![{$])", "".join(texts(FILE)))  # each in braces, so that none is overlooked


def test_a_missing_password_is_told_and_nothing_else_is_asked_for() -> None:
    needed = {found[1] for text in texts(FILE) for found in VARIABLE.finditer(text) if found[2] != "-"}
    assert needed == {"RAG_DATABASE_PASSWORD", "RAG_MILVUS_PASSWORD"}
    assert all(found[2] for text in texts(FILE) for found in VARIABLE.finditer(text))


def test_no_secret_is_written_down() -> None:
    named = {f"{n}.{k}": v for n, each in SERVICES.items() for k, v in each.get("environment", {}).items()}
    secret = {name: value for name, value in named.items() if SECRET.search(name)}
    assert len(secret) == 7
    assert {without_variables(value) for value in secret.values()} == {"", "root:"}
    assert not any(example().values())
    assert not any("env_file" in service for service in SERVICES.values())


def test_both_sides_are_given_the_same_password() -> None:
    service, postgres, milvus = (SERVICES[name]["environment"] for name in ("rag", "postgres", "milvus"))
    assert service["RAG_DATABASE_PASSWORD"] == postgres["POSTGRES_PASSWORD"]
    assert service["RAG_MILVUS_TOKEN"] == f"root:{milvus['COMMON_SECURITY_DEFAULTROOTPASSWORD']}"
    assert milvus["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"


# --- The config that the service is started from.


@pytest.mark.parametrize("name", ["rag", "models"])
def test_the_config_is_in_the_image_and_accepted(name: str) -> None:
    path = config_path(name)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert path.parts[0] in kept
    assert not path.is_absolute()
    assert load(ROOT / path).args == load(ROOT / config_path("rag")).args


@pytest.mark.parametrize(
    "address",
    [lambda args: args.store.url, lambda args: args.retrieval.uri],
    ids=["store.url", "retrieval.uri"],
)
def test_the_stores_are_services_that_the_service_reaches(config: ConfigFile, address: Callable[[Any], str]) -> None:
    host = urlsplit(address(config.args)).hostname
    assert host is not None
    assert host in SERVICES["rag"]["depends_on"]
    assert networks("rag") & networks(host)


def test_the_database_is_the_one_that_is_made(config: ConfigFile) -> None:
    url, made = urlsplit(config.args.store.url), SERVICES["postgres"]["environment"]
    assert (url.username, url.path) == (made["POSTGRES_USER"], f"/{made['POSTGRES_DB']}")


def test_the_port_is_the_one_that_is_published_asked_and_called(config: ConfigFile) -> None:
    options, rag = config.raw["http_options"], SERVICES["rag"]
    assert options["host"] == "0.0.0.0"
    assert [port.rpartition(":")[2] for port in rag["ports"]] == [str(options["port"])]
    assert f"http://127.0.0.1:{options['port']}/readyz" in rag["healthcheck"]["test"]
    assert SERVICES["platform"]["environment"]["RAG_URL"] == f"http://rag:{options['port']}"
    assert networks("platform") & networks("rag")


def test_uploads_lie_in_a_volume(config: ConfigFile) -> None:
    blobs = Path("/app", config.args.data_dir, config.args.blobs.url)
    mounts = [Path(volume.split(":")[1]) for volume in SERVICES["rag"]["volumes"]]
    assert any(mount in blobs.parents for mount in mounts)


def test_all_of_it_fits_on_one_gpu_and_eight_cpus(config: ConfigFile) -> None:
    """ray.serve.llm reserves a whole GPU and args.generation.cpus for the engine; the owners of embedded stores run on
    the head node and reserve nothing."""
    generation = config.args.generation
    gpus, cpus = float(generation.tensor_parallel_size), generation.cpus
    owners = {owner for owners in config.args.local_stores().values() for owner in owners}
    for deployment in config.raw["applications"][0]["deployments"]:
        assert deployment["num_replicas"] == 1
        options = deployment.get("ray_actor_options", {})
        if deployment["name"] in owners | {"generation"}:
            assert not options
            continue
        gpus += options.get("num_gpus", 0)
        cpus += options["num_cpus"]
    (device,) = SERVICES["rag"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpus <= device["count"] == 1
    assert cpus <= 8


def test_the_commands_at_the_top_exist() -> None:
    top = COMPOSE.read_text(encoding="utf-8").partition("\nname:")[0]
    commands = re.findall(r" rag rag (.*)$", top, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = command.removesuffix(")").split()
        options = [word for word in words if word.startswith("--")]
        verbs = words[: 2 if words[0] == "keys" else 1]
        program = Path(sys.executable).with_name("rag")
        wide = {**os.environ, "COLUMNS": "200"}
        told = subprocess.run([program, *verbs, "--help"], capture_output=True, text=True, env=wide, check=True).stdout
        assert all(option in told for option in options)
    assert str(config_path("rag")) in top
    assert str(EXAMPLE.relative_to(ROOT)) in top
    assert (ROOT / "corpus" / "hr").is_dir()
