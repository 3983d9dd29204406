"""`python -m serve_app` is `rag`."""

from __future__ import annotations

from serve_app.cli.main import app

if __name__ == "__main__":
    app(prog_name="rag")
