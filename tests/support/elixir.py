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
MIX_S = 240


def mix(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run mix in the client's project, for at most MIX_S; `environment` is added to this process's."""
    command = ["mix", *arguments]
    return subprocess.run(
        command,
        cwd=CLIENT,
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
