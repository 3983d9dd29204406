"""`python -m rag` is `rag`."""

from __future__ import annotations

from rag.cli.main import app

if __name__ == "__main__":
    app(prog_name="rag")
