"""Mix as tests and benchmarks run it: its build and its home in a folder of theirs, nothing of it in the checkout."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from serve_app.storage.declarative import PLATFORM
from tests.support.service import Running, make_key

RAG = str(Path(sys.executable).with_name("rag"))
CLIENT = Path(__file__).parents[2] / "clients" / "elixir"
GUIDE = CLIENT / "guides" / "phoenix.md"
MIX_S = 240


def mix(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run mix in the client's project, for at most MIX_S; `environment` is added to this process's."""
    return mix_in(CLIENT, *arguments, folder=folder, **environment)


def mix_in(project: Path, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same in another project."""
    command = ["mix", *arguments]
    return subprocess.run(
        command,
        cwd=project,
        env=mix_environment(folder, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MIX_S,
    )


def mix_environment(folder: Path, further: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "MIX_BUILD_PATH": str(folder / "build"),
        "MIX_HOME": str(folder / "mix"),
        "HEX_HOME": str(folder / "hex"),
        "LANG": "C.UTF-8",
        **further,
    }


def passed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tests passed. Fails unless all that were not excluded did."""
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-20_000:]
    found = re.search(r"^(\d+) tests?, (\d+) failures?(?:, (\d+) excluded)?$", output, re.MULTILINE)
    assert found, output[-20_000:]
    assert found[2] == "0", output[-20_000:]
    return int(found[1]) - int(found[3] or 0)


def against(running: Running, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The client's tests that want a service, on this one. Call it where no event loop runs."""
    key = asyncio.run(make_key(running.args, PLATFORM, "platform"))
    told = {"RAG_TEST_URL": running.url, "RAG_TEST_KEY": key, "RAG_TEST_BRIDGE": RAG, **environment}
    return mix("test", "test/service_test.exs", folder=folder, **told)


def guide_project(folder: Path) -> Path:
    """A fresh Mix project in which the first steps of GUIDE were typed: the dependency, and the client as a child.

    Phoenix itself needs a package registry, so its generator's project is replaced by `mix new`.
    """
    project = folder / "my_app"
    made = mix_in(folder, "new", str(project), "--sup", folder=folder / "mix")
    assert made.returncode == 0, made.stdout + made.stderr
    dependency = _block("{:rag_client, path:").replace("../rag-serve/clients/elixir", str(CLIENT))
    mix_exs, application = project / "mix.exs", project / "lib" / "my_app" / "application.ex"
    text = mix_exs.read_text("utf-8")
    mix_exs.write_text(text[: text.index("  defp deps do")] + dependency + "end\n", encoding="utf-8")
    child = _block("{RagClient,").rstrip().removesuffix(",")
    text = application.read_text("utf-8")
    assert "children = [" in text
    application.write_text(text.replace("children = [", f"children = [\n{child}", 1), encoding="utf-8")
    return project


def guide_session() -> str:
    """What GUIDE types into `iex`, as a script."""
    lines = _block("iex> ").splitlines()
    return "\n".join(line.removeprefix("iex> ") for line in lines if line.startswith("iex> "))


def _block(begins: str) -> str:
    """The first block of Elixir in GUIDE that has a line with these words at its beginning."""
    blocks: list[str] = re.findall(r"```elixir\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if any(line.lstrip().startswith(begins) for line in block.splitlines()))
