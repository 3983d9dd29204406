"""Mix as tests and benchmarks run it: its build and its home in a folder of theirs, nothing of it in the checkout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

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
