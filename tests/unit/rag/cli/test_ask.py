from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rag.cli import trace
from rag.cli.ask import TURNS_KEPT
from tests.unit.rag.cli.test_trace import LOGGED, QUERY_ID

SOURCES: dict[str, Any] = {
    "type": "sources",
    "query_id": "q1",
    "sources": [
        {"id": "p1", "document_id": "zakoni/a.md", "title": "Zakon [1]", "text": "…", "score": 0.91, "metadata": {}},
        {"id": "p2", "document_id": "b.md", "title": "Drugi", "text": "…", "score": 0.5, "metadata": {}},
    ],
}
COMPLETE = {
    "type": "complete",
    "query_id": "q1",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    "timings": {"total": 1234.0},
    "finish_reason": "stop",
    "engine": "vllm",
    "model": "Qwen/Qwen3-0.6B",
    "degraded": [],
}


def chunk(content: str) -> dict[str, Any]:
    return {"type": "chunk", "query_id": "q1", "content": content}


Sse = Callable[..., httpx.Response]
Problem = Callable[..., httpx.Response]


def test_the_answer_streams_and_its_sources_follow(service: Any, rag: Any, sse: Sse) -> None:
    citation = {"type": "citation", "query_id": "q1", "sources": ["p1"], "start": 0, "end": 8}
    service["POST /v1/query"] = sse(SOURCES, b": ping\n\n", chunk("Rok je 15 "), chunk("dana. [1]"), citation, COMPLETE)
    result = rag("ask", "Koji je rok?", "--key", "k")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Rok je 15 dana. [1]\n")
    first, second = [line for line in result.stdout.splitlines() if line.startswith("[")]
    assert first.split() == ["[1]", "Zakon", "[1]", "zakoni/a.md", "0.910"]
    assert second.split() == ["[2]", "Drugi", "b.md", "0.500"]
    assert result.stdout.rstrip().endswith("answered by vllm · Qwen/Qwen3-0.6B in 1.2 s")
    assert service.requests[0].headers["Authorization"] == "Bearer k"
    assert service.bodies() == [{"query": "Koji je rok?"}]


def test_says_how_sure_an_extractive_answer_is(service: Any, rag: Any, sse: Sse) -> None:
    complete = COMPLETE | {"engine": "extractive", "model": None, "confidence": 0.72}
    service["POST /v1/query"] = sse(SOURCES, chunk("x"), complete)
    assert rag("ask", "q", "--key", "k").stdout.rstrip().endswith("answered by extractive in 1.2 s; 72% sure")


def test_says_how_much_of_an_answer_its_sources_support(service: Any, rag: Any, sse: Sse) -> None:
    grounding = {"supported": 1, "unsupported": 1, "uncited": 1, "unchecked": 0, "share": 0.333}
    uncited = {"type": "citation", "query_id": "q", "sources": [], "start": 0, "end": 1, "status": "uncited"}
    service["POST /v1/query"] = sse(SOURCES, chunk("x"), uncited, COMPLETE | {"grounding": grounding})
    told = rag("ask", "q", "--key", "k").stdout.rstrip()
    assert told.endswith(" in 1.2 s; 1 of 3 statements supported by their sources")
    service["POST /v1/query"] = sse(SOURCES, chunk("x"), COMPLETE | {"grounding": grounding | {"share": 1.0}})
    assert rag("ask", "q", "--key", "k").stdout.rstrip().endswith(" in 1.2 s")


def test_every_option_reaches_the_service(service: Any, rag: Any, sse: Sse) -> None:
    service["POST /v1/query"] = sse(SOURCES, COMPLETE)
    options = ["--language", "en", "--collection", "a", "--collection", "b", "--user", "u1", "--top-k", "3"]
    assert rag("ask", "q", *options, "--filter", "metadata.year >= 2018").exit_code == 0
    assert service.bodies() == [
        {
            "query": "q",
            "language": "en",
            "collections": ["a", "b"],
            "user": "u1",
            "filter": "metadata.year >= 2018",
            "top_k": 3,
        }
    ]


def test_json_is_the_services_own(service: Any, rag: Any) -> None:
    answer = {"answer": "Čaj.", "sources": []}
    service["POST /v1/query"] = httpx.Response(200, json=answer)
    result = rag("ask", "q", "--json")
    assert json.loads(result.stdout) == answer
    assert "Čaj" in result.stdout
    assert service.bodies() == [{"query": "q", "stream": False}]


def test_what_was_left_out_is_told(service: Any, rag: Any, sse: Sse) -> None:
    service["POST /v1/query"] = sse(SOURCES, chunk("x"), COMPLETE | {"degraded": ["reranking"], "model": None})
    assert rag("ask", "q").stdout.rstrip().endswith("answered by vllm in 1.2 s; without reranking")


def test_an_answer_that_there_is_none_has_no_list_of_sources(service: Any, rag: Any, sse: Sse) -> None:
    service["POST /v1/query"] = sse(SOURCES, chunk("Ne znam."), COMPLETE | {"finish_reason": "no_answer"})
    told = rag("ask", "q", "--key", "k").stdout
    assert "zakoni/a.md" not in told
    assert "2 passages were found; `rag search` with the same words shows them" in told


def test_sources_are_broken_between_words_only(
    service: Any, rag: Any, sse: Sse, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = "Zakon o zaštiti osoba koje prijavljuju nepravilnosti"
    source = SOURCES["sources"][0] | {"title": title, "document_id": "zakoni/zakon-o-zastiti-prijavitelja.md"}
    service["POST /v1/query"] = sse(SOURCES | {"sources": [source]}, chunk("Da."), COMPLETE)
    monkeypatch.setenv("COLUMNS", "40")
    shown = rag("ask", "q", "--key", "k").stdout
    assert f"[1] {title} zakoni/zakon-o-zastiti-prijavitelja.md 0.910" in " ".join(shown.split())


def test_no_sources_no_table(service: Any, rag: Any, sse: Sse) -> None:
    service["POST /v1/query"] = sse(SOURCES | {"sources": []}, chunk("Ne znam."), COMPLETE)
    assert "document" not in rag("ask", "q").stdout


def test_control_characters_never_reach_the_terminal(service: Any, rag: Any, sse: Sse) -> None:
    evil = {**SOURCES["sources"][0], "title": "\x1b]0;evil\x07"}
    service["POST /v1/query"] = sse(SOURCES | {"sources": [evil]}, chunk("a\x1b[2Jb\x9bc\n"), COMPLETE)
    result = rag("ask", "q")
    assert result.exit_code == 0
    assert not set(result.stdout) & set("\x1b\x07\x9b")


def test_a_conversation_keeps_its_turns(service: Any, rag: Any, sse: Sse, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter(["Petnaest ", "Od dostave.", "Ne."])
    service["POST /v1/query"] = lambda request: sse(SOURCES, chunk(next(texts)), chunk("dana."), COMPLETE)
    lines = iter(["Od kada?", "Ima li iznimke?", "  "])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    result = rag("ask", "Koji je rok?", "--conversation", "--collection", "zakoni")
    assert result.exit_code == 0, result.output
    first, second, third = service.bodies()
    assert first == {"query": "Koji je rok?", "collections": ["zakoni"]}
    turns = [{"role": "user", "content": "Koji je rok?"}, {"role": "assistant", "content": "Petnaest dana."}]
    assert second == {"query": "Od kada?", "collections": ["zakoni"], "history": turns}
    turns += [{"role": "user", "content": "Od kada?"}, {"role": "assistant", "content": "Od dostave.dana."}]
    assert third == {"query": "Ima li iznimke?", "collections": ["zakoni"], "history": turns}


def test_a_conversation_is_bounded_and_ends_with_its_input(
    service: Any, rag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service["POST /v1/query"] = httpx.Response(200, json={"answer": "Da.", "sources": []})
    lines = iter(str(number) for number in range(30))

    def read(prompt: str) -> str:
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", read)
    assert rag("ask", "prvo", "--conversation", "--json").exit_code == 0
    bodies = service.bodies()
    assert len(bodies) == 31
    assert len(bodies[-1]["history"]) == TURNS_KEPT
    assert bodies[-1]["history"][-2] == {"role": "user", "content": "28"}


def test_an_error_in_the_stream(service: Any, rag: Any, sse: Sse) -> None:
    error = {"type": "error", "query_id": "q1", "error": "generation died", "code": "x", "retryable": True}
    service["POST /v1/query"] = sse(SOURCES, chunk("Pola"), error)
    result = rag("ask", "q")
    assert result.exit_code == 1
    assert result.stdout.startswith("Pola\n")
    assert result.stderr == "Error: generation died; ask again\n"


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ((), "the answer broke off before its end"),
        ((httpx.RemoteProtocolError("peer closed connection"),), "broke off (peer closed connection)"),
        ((httpx.ReadTimeout("silence"),), "is silent"),
        ((b"data: {half\n\n",), "cannot be read"),
    ],
)
def test_a_stream_that_breaks_off(service: Any, rag: Any, sse: Sse, ending: tuple[Any, ...], told: str) -> None:
    service["POST /v1/query"] = sse(SOURCES, chunk("Pola"), *ending)
    result = rag("ask", "q")
    assert result.exit_code == 1
    assert "Pola" in result.stdout
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_stops_the_answer_in_the_service(service: Any, rag: Any, sse: Sse) -> None:
    service["POST /v1/query"] = sse(SOURCES, chunk("Pola"), KeyboardInterrupt(), query_id="ab12")
    service["DELETE /v1/query/ab12"] = httpx.Response(202, json={"state": "cancelling"})
    result = rag("ask", "q", "--key", "k")
    assert result.exit_code == 130
    assert [(request.method, request.url.path) for request in service.requests] == [
        ("POST", "/v1/query"),
        ("DELETE", "/v1/query/ab12"),
    ]
    assert service.requests[1].headers["Authorization"] == "Bearer k"


def test_ctrl_c_before_the_service_answered_cancels_nothing(service: Any, rag: Any) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service["POST /v1/query"] = interrupted
    assert rag("ask", "q").exit_code == 130
    assert len(service.requests) == 1


def test_a_refusal_is_one_line(service: Any, rag: Any, problem: Problem) -> None:
    service["POST /v1/query"] = problem(422, "Invalid filter", "filter: unknown field 'foo'")
    result = rag("ask", "q", "--filter", "foo == 1")
    assert (result.exit_code, result.stderr) == (1, "Error: Invalid filter: filter: unknown field 'foo'\n")
    assert result.stdout == ""


def test_an_answer_that_is_no_stream(service: Any, rag: Any) -> None:
    service["POST /v1/query"] = httpx.Response(200, text="<html>")
    result = rag("ask", "q")
    assert result.exit_code == 1
    assert "check --url" in result.stderr


def test_search_lists_passages_with_their_scores(service: Any, rag: Any) -> None:
    found = {"id": "p1", "document_id": "a.md", "title": "Zakon", "text": "Rok [x] je\x1b 15 dana.", "score": 0.25}
    service["POST /v1/search"] = httpx.Response(200, json={"query_id": "q", "results": [found], "timings": {}})
    result = rag("search", "rok", "--collection", "zakoni", "--top-k", "2")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["[1] Zakon  a.md  0.250", "Rok [x] je 15 dana.", ""]
    assert service.bodies() == [{"query": "rok", "collections": ["zakoni"], "top_k": 2}]
    assert json.loads(rag("search", "rok", "--json").stdout)["results"] == [found]


def test_search_that_finds_nothing(service: Any, rag: Any) -> None:
    service["POST /v1/search"] = httpx.Response(200, json={"query_id": "q", "results": [], "timings": {}})
    assert rag("search", "rok").stdout == "Nothing found.\n"


def test_a_trace_follows_the_answer_that_asks_for_it(service: Any, rag: Any, sse: Sse, problem: Problem) -> None:
    answer = sse(SOURCES, chunk("15 dana."), COMPLETE)
    answer.headers["X-Query-ID"] = QUERY_ID
    service["POST /v1/query"] = answer
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=LOGGED)
    shown = rag("ask", "Koji je rok?", "--key", "k", "--trace").stdout
    assert shown.index("15 dana.") < shown.index("in 1.2 s") < shown.index(f"{QUERY_ID}: stop")
    assert f"trace {LOGGED['trace_id']}" in shown
    assert shown.rstrip().endswith("total 1,410.2 ms.")


def test_the_trace_is_in_the_json_of_the_answer(service: Any, rag: Any) -> None:
    found = {"query_id": QUERY_ID, "answer": "15 dana."}
    service["POST /v1/query"] = httpx.Response(200, json=found)
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=LOGGED)
    assert json.loads(rag("ask", "q", "--key", "k", "--json", "--trace").stdout) == {**found, "trace": LOGGED}
    assert json.loads(rag("ask", "q", "--key", "k", "--json").stdout) == found


@pytest.mark.parametrize("status", [404, 500])
def test_an_answer_without_a_trace_is_an_answer(
    service: Any, rag: Any, problem: Problem, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(trace, "WITHIN_S", 0.0)
    found = {"query_id": QUERY_ID, "answer": "15 dana."}
    service["POST /v1/query"] = httpx.Response(200, json=found)
    service[f"GET /v1/queries/{QUERY_ID}"] = problem(status, "No luck", "it is not in the log")
    result = rag("ask", "q", "--key", "k", "--json", "--trace")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {**found, "trace": None})
    assert result.stderr == "Warning: no trace of this answer: No luck: it is not in the log\n"


def test_a_conversation_goes_on_without_a_trace(
    service: Any, rag: Any, sse: Sse, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "WITHIN_S", 0.0)
    following = iter(["Od kada?", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(following))
    service["POST /v1/query"] = lambda _: sse(SOURCES, chunk("15 dana."), COMPLETE, query_id=QUERY_ID)
    service[f"GET /v1/queries/{QUERY_ID}"] = problem(404, "Not found", "it is not in the log")
    result = rag("ask", "Koji je rok?", "--key", "k", "--trace", "--conversation")
    assert result.exit_code == 0, result.output
    assert [body["query"] for body in service.bodies()] == ["Koji je rok?", "Od kada?"]
    assert result.stdout.count("15 dana.") == 2
    assert result.stderr.count("Warning: no trace") == 2
