"""The three names of the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.bridge import RAG

SLOW = ("sqlalchemy", "fastapi", "pydantic", "numpy", "ray", "torch", "pymilvus", "alembic")


def test_the_version_is_shown() -> None:
    shown = subprocess.run([RAG, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"rag {version('rag-serve')}\n"


NOTHING_LISTENS = ("--url", "http://127.0.0.1:9")
RUN = "import sys; sys.argv[0] = 'rag'; from rag.cli.main import app; app(standalone_mode=False)"


@pytest.mark.parametrize(
    "command",
    [("--version",), ("ask", "q", *NOTHING_LISTENS), ("search", "q", *NOTHING_LISTENS), ("status", *NOTHING_LISTENS)],
    ids=lambda command: command[0],
)
def test_a_small_command_imports_what_it_needs_and_no_more(command: tuple[str, ...]) -> None:
    code = f"try:\n {RUN}\nexcept BaseException as error: end = error\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    imported = run.stdout.split()
    assert "rag.cli.main" in imported
    assert ("httpx" in imported) == (command[0] != "--version")
    of_others = {name for name in imported if name.startswith(("rag.cli.up", "rag.cli.ingest", "rag.evaluation"))}
    assert of_others == set()
    slow = {*SLOW, "httpx.__main__", "asyncio" if command[0] == "--version" else "pygments"}
    assert slow & set(imported) == set()


@pytest.mark.parametrize(
    "command",
    [(RAG,), (sys.executable, "-m", "rag"), (sys.executable, "-m", "serve_app")],
    ids=lambda c: " ".join(c[1:]),
)
def test_every_name_is_the_command_line(command: tuple[str, ...]) -> None:
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.split()[:2] == ["Usage:", "rag"]
    assert "Ask questions of your own documents." in shown
