from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest


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
    assert row.split() == ["embedding", "yes", "2", "st", "·", "MiniLM"]


def test_a_stage_that_is_not_ready_is_the_exit_code(service: Any, rag: Any) -> None:
    service["GET /readyz"] = httpx.Response(503, json=view(False))
    result = rag("status")
    assert result.exit_code == 1
    row = next(line for line in result.stdout.splitlines() if "generation" in line)
    assert row.split() == ["generation", "no", "0", "no", "[replica]", "answers"]


def test_in_a_narrow_terminal_words_stay_whole(service: Any, rag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    service["GET /readyz"] = httpx.Response(200, json=view(True))
    words = rag("status").stdout.split()
    for word in ("embedding", "generation", "replicas", "MiniLM", "[replica]"):
        assert word in words


def test_what_is_no_status_is_told(service: Any, rag: Any, problem: Callable[..., httpx.Response]) -> None:
    service["GET /readyz"] = httpx.Response(503, text="<html>")
    assert "check --url" in rag("status").stderr
    service["GET /readyz"] = problem(500, "Internal error", "look at the log")
    assert rag("status").stderr == "Error: Internal error: look at the log\n"


def index(behind: int, **changed: Any) -> httpx.Response:
    state = {"documents": 1200, "passages": 9000, "behind": behind, "missing": 0, "job_id": None, "live_embedder": "f"}
    return httpx.Response(200, json={**state, "embedder": {"model": "MiniLM", "fingerprint": "f"}, **changed})


RETENTION: dict[str, Any] = {"days": {}, "waiting": {"uploads": 0}, "swept_at": None, "removed": {}}


def test_it_says_what_is_to_be_removed(service: Any, rag: Any, problem: Callable[..., httpx.Response]) -> None:
    service["GET /readyz"] = httpx.Response(200, json=view(True))
    service["GET /v1/reindex"] = problem(422, "Refused", "a platform key must name the tenant")
    service["GET /v1/retention"] = httpx.Response(200, json=RETENTION)
    assert "Not swept yet; nothing to be removed." in rag("status", "--key", "k").stdout
    state = {"waiting": {"uploads": 1200, "versions": 0}, "swept_at": "2026-11-24", "removed": {"jobs": 3}}
    service["GET /v1/retention"] = httpx.Response(200, json=RETENTION | state)
    told = "Swept at 2026-11-24, 3 jobs removed; 1,200 uploads to be removed."
    assert told in rag("status", "--key", "k").stdout


def test_with_a_key_it_says_how_many_documents_are_behind(service: Any, rag: Any) -> None:
    service["GET /readyz"] = httpx.Response(200, json=view(True))
    service["GET /v1/reindex"] = index(412)
    service["GET /v1/retention"] = httpx.Response(200, json=RETENTION)
    result = rag("status", "--key", "k")
    assert result.exit_code == 0
    assert "1,200 documents, 9,000 passages; 412 are behind: of another embedder than MiniLM" in result.stdout
    service["GET /v1/reindex"] = index(0)
    assert "all are of the embedder that runs, MiniLM" in rag("status", "--key", "k").stdout
    for changed, told in (
        ({"live_embedder": "e"}, "by terms alone. Index them again: rag reindex"),
        ({"missing": 7}, "the index lacks 7"),
        ({"job_id": "job_1"}, "job job_1 reindexes them"),
    ):
        service["GET /v1/reindex"] = index(412, **changed)
        assert told in rag("status", "--key", "k").stdout


@pytest.mark.parametrize(
    ("status", "detail"), [(403, "this key may only ask"), (422, "a platform key must name the tenant")]
)
def test_a_key_that_may_not_see_documents_is_no_failure(
    service: Any, rag: Any, problem: Callable[..., httpx.Response], status: int, detail: str
) -> None:
    service["GET /readyz"] = httpx.Response(200, json=view(True))
    service["GET /v1/reindex"] = problem(status, "Refused", detail)
    service["GET /v1/retention"] = problem(403, "Refused", detail)
    result = rag("status", "--key", "k")
    assert (result.exit_code, result.stderr) == (0, "")
