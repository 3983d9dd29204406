from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.cli.service import MAX_RETRY_S

Problem = Callable[..., httpx.Response]
FOUND = httpx.Response(200, json={"results": []})


def failing(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ConnectError("refused"), "no service answers at http://service.test; start one with `rag up`"),
        (httpx.ReadTimeout("slow"), "the service at http://service.test is silent"),
        (httpx.ReadError("reset"), "the connection to http://service.test broke off (reset)"),
        (httpx.RemoteProtocolError(""), "broke off (RemoteProtocolError)"),
    ],
)
def test_an_unreachable_service_is_one_line(service: Any, rag: Any, error: Exception, told: str) -> None:
    service["POST /v1/search"] = failing(error)
    result = rag("search", "q")
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_key_says_where_to_give_it(service: Any, rag: Any, problem: Problem) -> None:
    service["POST /v1/search"] = problem(401, "Missing or unknown key", "the key is not valid")
    assert rag("search", "q").stderr == (
        "Error: Missing or unknown key: the key is not valid; give it with --key or RAG_API_KEY\n"
    )


def test_an_answer_without_a_problem_is_told_by_its_status(service: Any, rag: Any) -> None:
    service["POST /v1/search"] = httpx.Response(502, text="<html>Bad gateway</html>")
    assert rag("search", "q").stderr == "Error: the service answered 502: Bad Gateway\n"


@pytest.mark.parametrize("body", [b"<html>", b"[1]"])
def test_another_server_is_told_apart(service: Any, rag: Any, body: bytes) -> None:
    service["POST /v1/search"] = httpx.Response(200, content=body)
    assert "not this service's; check --url" in rag("search", "q").stderr


def test_an_overloaded_service_is_asked_again_when_it_says_so(
    service: Any, rag: Any, problem: Problem, waits: list[float]
) -> None:
    answers = [problem(503, "Too many", "later", **{"Retry-After": "3"}), problem(503, "Too many", "later"), FOUND]
    service["POST /v1/search"] = lambda request: answers.pop(0)
    assert rag("search", "q").exit_code == 0
    assert waits == [3.0, 1.0]


def test_an_overloaded_service_is_not_asked_for_ever(
    service: Any, rag: Any, problem: Problem, waits: list[float]
) -> None:
    service["POST /v1/search"] = problem(503, "Too many", "later", **{"Retry-After": "600"})
    assert rag("search", "q").stderr == "Error: Too many: later\n"
    assert waits == [MAX_RETRY_S] * 3


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8000", "http://", "nonsense"])
def test_an_address_that_is_none(rag: Any, url: str) -> None:
    result = rag("search", "q", url=url)
    assert result.exit_code == 1
    assert "is not an address like http://127.0.0.1:8000" in result.stderr


def test_a_key_that_no_header_can_carry(rag: Any) -> None:
    assert "check --key" in rag("search", "q", "--key", "č\n").stderr


def test_the_key_may_come_from_the_environment(service: Any, rag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service["POST /v1/search"] = FOUND
    monkeypatch.setenv("RAG_API_KEY", "from-environment")
    # (the fixture `rag` removed it before)
    rag("search", "q")
    rag("search", "q", "--key", "given")
    assert [request.headers["Authorization"] for request in service.requests] == [
        "Bearer from-environment",
        "Bearer given",
    ]


def test_without_any_key_none_is_sent(service: Any, rag: Any) -> None:
    service["POST /v1/search"] = FOUND
    rag("search", "q")
    assert "Authorization" not in service.requests[0].headers


def running(data_dir: Path, pid: int, key_file: str | None) -> None:
    service = {"url": "http://127.0.0.1:1234", "key_file": key_file, "pid": pid, "ray_folder": "/tmp/rag-x"}
    (data_dir / "service.json").write_text(json.dumps(service))


def test_the_local_service_is_found_with_its_key(service: Any, rag: Any, tmp_path: Path) -> None:
    service["POST /v1/search"] = FOUND
    (tmp_path / "key").write_text("local-key\n")
    running(tmp_path, os.getpid(), str(tmp_path / "key"))
    assert rag("search", "q", "--data-dir", str(tmp_path), url=None).exit_code == 0
    assert str(service.requests[0].url) == "http://127.0.0.1:1234/v1/search"
    assert service.requests[0].headers["Authorization"] == "Bearer local-key"


def test_the_local_key_is_not_sent_elsewhere(service: Any, rag: Any, tmp_path: Path) -> None:
    service["POST /v1/search"] = FOUND
    (tmp_path / "key").write_text("local-key")
    running(tmp_path, os.getpid(), str(tmp_path / "key"))
    rag("search", "q", "--data-dir", str(tmp_path))
    assert "Authorization" not in service.requests[0].headers


def test_a_key_file_that_cannot_be_read(rag: Any, tmp_path: Path) -> None:
    running(tmp_path, os.getpid(), str(tmp_path / "key"))
    assert "cannot be read; give the key" in rag("search", "q", "--data-dir", str(tmp_path), url=None).stderr


@pytest.mark.parametrize("content", [None, "{half", "[]", '{"url": "http://x"}'])
def test_no_local_service(rag: Any, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "service.json").write_text(content)
    result = rag("search", "q", "--data-dir", str(tmp_path), url=None)
    assert result.exit_code == 1
    assert f"no service runs from {tmp_path}" in result.stderr


def test_a_service_that_was_killed(rag: Any, tmp_path: Path) -> None:
    running(tmp_path, 2**22 + 1, None)  # above the largest process id
    assert "no service runs" in rag("search", "q", "--data-dir", str(tmp_path), url=None).stderr
