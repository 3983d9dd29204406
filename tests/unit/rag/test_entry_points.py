"""The three names of the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.bridge import RAG

SLOW = ("pydantic", "sqlalchemy", "fastapi", "numpy", "ray", "torch", "pymilvus", "alembic")


def test_the_version_is_shown() -> None:
    shown = subprocess.run([RAG, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"rag {version('rag-serve')}\n"


def test_the_command_line_imports_nothing_that_is_slow() -> None:
    code = "import sys, rag.cli.main, rag.cli.ask, rag.cli.status; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in SLOW if name in imported] == []


@pytest.mark.parametrize(
    "command",
    [(RAG,), (sys.executable, "-m", "rag"), (sys.executable, "-m", "serve_app")],
    ids=lambda c: " ".join(c[1:]),
)
def test_every_name_is_the_command_line(command: tuple[str, ...]) -> None:
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.split()[:2] == ["Usage:", "rag"]
    assert "Ask questions of your own documents." in shown
