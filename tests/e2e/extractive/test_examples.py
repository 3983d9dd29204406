"""The examples in README and `docs` that are marked as tested run as they are written, against the shared service.

Only the address and the path of the key are replaced: those of a fresh install are not those of a test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import configurations
from tests.support.elixir import MIX_S, mix
from tests.support.service import Running

pytestmark = pytest.mark.timeout(900)
SERVICE = configurations.extractive

ROOT = Path(__file__).parents[3]
_MARKED = re.compile(r"^<!-- tested -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    document: str
    language: str
    code: str


EXAMPLES = [
    Example(str(path.relative_to(ROOT)), language, code)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for language, code in _MARKED.findall(path.read_text("utf-8"))
]


@pytest.fixture
def key_file(shared: configurations.Extractive, tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(shared.running.key + "\n")
    return file


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.document}-{example.language}")
def test_the_example_works(
    example: Example, shared: configurations.Extractive, key_file: Path, elixir_folder: Path, tmp_path: Path
) -> None:
    code = _here(example.code, shared.running, key_file)
    match example.language:
        case "sh":
            # curl prints an error's body and succeeds; the test must not.
            done = _run("bash", "-euo", "pipefail", "-c", code.replace("curl ", "curl --fail-with-body --silent "))
        case "python":
            done = _run(sys.executable, "-c", code)
        case "elixir":
            script = tmp_path / "ask.exs"
            script.write_text(code)
            done = mix("run", str(script), folder=elixir_folder, MIX_ENV="test")  # as built for the other tests
        case language:
            pytest.fail(f"nothing runs {language}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert "event: error" not in done.stdout


def test_every_language_of_the_readme_is_tested() -> None:
    assert {example.language for example in EXAMPLES if example.document == "README.md"} == {"sh", "python", "elixir"}


def _here(code: str, running: Running, key_file: Path) -> str:
    address = running.url.removeprefix("http://")
    code = re.sub(r"(\.\./)*var/key\b", str(key_file), code)
    assert "localhost:8000" in code
    return code.replace("localhost:8000", address)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MIX_S
    )
