"""The three names of the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.bridge import RAG


@pytest.mark.parametrize(
    "command",
    [(RAG,), (sys.executable, "-m", "rag"), (sys.executable, "-m", "serve_app")],
    ids=lambda c: " ".join(c[1:]),
)
def test_every_name_is_the_command_line(command: tuple[str, ...]) -> None:
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.split()[:2] == ["Usage:", "rag"]
    assert "Ask questions of your own documents." in shown
