from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx


def view(ready: bool) -> dict[str, Any]:
    stages = {
        "embedding": {"ready": True, "engine": "st", "model": "MiniLM", "replicas": 2, "detail": None},
        "generation": {"ready": ready, "engine": None, "model": None, "replicas": 0, "detail": "no [replica] answers"},
    }
    return {"ready": ready, "stages": stages}


def test_every_stage_has_its_row(service: Any, rag: Any) -> None:
    service["GET /readyz"] = httpx.Response(200, json=view(True))
    result = rag("status")
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if "embedding" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["embedding", "yes", "st", "MiniLM", "2", ""]


def test_a_stage_that_is_not_ready_is_the_exit_code(service: Any, rag: Any) -> None:
    service["GET /readyz"] = httpx.Response(503, json=view(False))
    result = rag("status")
    assert result.exit_code == 1
    row = next(line for line in result.stdout.splitlines() if "generation" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "generation", "no", "", "", "0", "no [replica] answers"
    ]  # fmt: skip


def test_what_is_no_status_is_told(service: Any, rag: Any, problem: Callable[..., httpx.Response]) -> None:
    service["GET /readyz"] = httpx.Response(503, text="<html>")
    assert "check --url" in rag("status").stderr
    service["GET /readyz"] = problem(500, "Internal error", "look at the log")
    assert rag("status").stderr == "Error: Internal error: look at the log\n"
