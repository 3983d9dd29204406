"""`python -m serve_app` is `rag`, for callers that start it by that name."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("rag", run_name="__main__", alter_sys=True)
