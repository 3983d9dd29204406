from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from rich.console import Console

from rag.cli.reindex import fill_lost_index
from rag.cli.service import Service

STATE = {
    "documents": 3, "passages": 9, "behind": 3, "missing": 0, "job_id": None, "live_embedder": "e1",
    "embedder": {"model": "e5", "fingerprint": "e2"},
}  # fmt: skip
NO_COUNTS = {"queued": 0, "parsing": 0, "embedding": 0, "indexed": 0, "failed": 0, "cancelled": 0}


def job(state: str, documents: list[Mapping[str, Any]] | None = None, **counts: int) -> httpx.Response:
    return httpx.Response(200, json={"state": state, "counts": NO_COUNTS | counts, "documents": documents or []})


@pytest.fixture
def behind(service: Any) -> Any:
    service["GET /v1/reindex"] = httpx.Response(200, json=STATE)
    service["POST /v1/reindex"] = httpx.Response(202, json={"job_id": "job_1"})
    return service


def test_it_is_followed_until_the_new_index_is_live(behind: Any, rag: Any, waits: list[float]) -> None:
    answers = iter([job("queued", queued=3), job("running", indexed=3), job("succeeded", indexed=3)])
    behind["GET /v1/jobs/job_1"] = lambda request: next(answers)
    result = rag("reindex", "--collection", "zakoni", "--bulk")
    assert result.exit_code == 0, result.stderr
    assert behind.bodies() == [{"collection": "zakoni", "bulk": True}]
    assert "3 documents indexed again." in result.stdout
    assert len(waits) == 2


def test_a_job_that_runs_is_followed(behind: Any, rag: Any, waits: list[float]) -> None:
    behind["GET /v1/reindex"] = httpx.Response(200, json=STATE | {"job_id": "job_7"})
    behind["GET /v1/jobs/job_7"] = job("succeeded", indexed=3)
    assert rag("reindex").exit_code == 0
    assert behind.bodies() == []


def test_without_need_it_is_not_done(behind: Any, rag: Any, waits: list[float]) -> None:
    behind["GET /v1/reindex"] = httpx.Response(200, json=STATE | {"behind": 0})
    behind["GET /v1/jobs/job_1"] = job("succeeded", indexed=3)
    assert "None of 3 documents is behind" in rag("reindex").stdout
    assert behind.bodies() == []
    assert rag("reindex", "--all").exit_code == 0
    assert len(behind.bodies()) == 1


def test_what_failed_is_named(behind: Any, rag: Any, waits: list[float]) -> None:
    failed = {"id": "scan", "state": "failed", "error": {"code": "not_found", "detail": "the bytes are gone"}}
    behind["GET /v1/jobs/job_1"] = job("failed", [failed], indexed=2, failed=1)
    result = rag("reindex")
    assert result.exit_code == 1
    assert "scan: the bytes are gone" in result.stderr
    behind["GET /v1/jobs/job_1"] = job("cancelled", cancelled=3)
    assert "cancelled" in rag("reindex").stderr


def test_a_lost_index_is_filled_again(behind: Any, waits: list[float]) -> None:
    console = Console(file=io.StringIO(), width=200)
    behind["GET /v1/jobs/job_1"] = job("succeeded", indexed=3)
    with Service("http://rag", "key", httpx.MockTransport(behind.handle)) as client:
        fill_lost_index(client, "It is kept.", console)
        assert behind.bodies() == [], "nothing is missing"
        behind["GET /v1/reindex"] = httpx.Response(200, json=STATE | {"missing": 9})
        fill_lost_index(client, "It is kept in [a].", console)
        assert len(behind.bodies()) == 1
        behind["GET /v1/reindex"] = httpx.Response(200, json=STATE | {"missing": 9, "job_id": "job_1"})
        fill_lost_index(client, "It is kept.", console)
        assert len(behind.bodies()) == 1, "the job that runs is followed"
    assert isinstance(console.file, io.StringIO)
    assert "It is kept in [a]. 3 documents are indexed again." in console.file.getvalue()
