from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SOURCE: dict[str, Any] = {
    "id": "p1", "document_id": "a.md", "title": "Zakon", "text": "Rok je 15 dana.", "score": 1.0,
    "metadata": {"headings": ["Članak 2."]},
}  # fmt: skip
OTHER = SOURCE | {"id": "p2", "metadata": {"headings": ["Članak 3."]}}
COMPLETE = {"type": "complete", "query_id": "q1", "finish_reason": "stop"}
QUESTIONS = [
    {"id": "1", "query": "Koji je rok žalbe?", "gold": ["a#art2"], "key_facts": ["15 dana"]},
    {"id": "2", "query": "PDV?", "gold": [], "answerable": False},
]

Sse = Callable[..., httpx.Response]


@pytest.fixture(name="questions")
def _questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return str(path)


@pytest.fixture(name="law")
def _law(service: Any, sse: Sse) -> Any:
    """A service whose collection `old` finds the right article second, and any other first."""

    def found(request: httpx.Request) -> list[dict[str, Any]]:
        return [OTHER, SOURCE] if json.loads(request.content).get("collections") == ["old"] else [SOURCE, OTHER]

    def search(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"results": found(request)})

    def query(request: httpx.Request) -> httpx.Response:
        text = {"type": "chunk", "query_id": "q1", "content": "Rok je 15 dana. [1]"}
        return sse({"type": "sources", "query_id": "q1", "sources": found(request)}, text, COMPLETE)

    service["POST /v1/search"] = search
    service["POST /v1/query"] = query
    return service


def test_questions_are_measured(law: Any, rag: Any, questions: str, tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    result = rag("eval", questions, "--collection", "new", "--language", "hr", *files)
    assert result.exit_code == 0, result.output
    assert "2 questions" in result.stdout
    assert "nDCG@10" in result.stdout
    figures = json.loads((tmp_path / "out.json").read_text())["configurations"][0]["figures"]
    assert figures["ndcg@10"]["value"] == figures["facts_in_answer"]["value"] == 1
    assert figures["balanced_accuracy"]["value"] == 0.5
    assert "<title>Evaluation: questions.jsonl</title>" in (tmp_path / "out.html").read_text()
    asked = {"query": "Koji je rok žalbe?", "collections": ["new"], "language": "hr"}
    assert law.bodies()[:2] == [asked | {"top_k": 40}, asked]


def test_two_collections_are_compared(law: Any, rag: Any, questions: str) -> None:
    result = rag("eval", questions, "--collection", "old", "--compare-collection", "new")
    assert result.exit_code == 0, result.output
    assert "Questions: 1 better, 0 worse, 1 the same" in result.stdout


def test_two_services_are_compared(law: Any, rag: Any, questions: str) -> None:
    other = ["--compare-url", "http://other.test", "--compare-key", "k2"]
    result = rag("eval", questions, "--key", "k1", "--no-answers", *other)
    assert result.exit_code == 0, result.output
    keys = {request.url.host: request.headers["Authorization"] for request in law.requests}
    assert keys == {"service.test": "Bearer k1", "other.test": "Bearer k2"}
    assert {request.url.path for request in law.requests} == {"/v1/search"}


def test_questions_are_typed_plainly(law: Any, rag: Any, questions: str) -> None:
    assert rag("eval", questions, "--without-diacritics", "--limit", "1", "--depth", "0").exit_code == 0
    assert law.bodies() == [{"query": "Koji je rok zalbe?"}]


def test_a_question_that_failed_ends_with_an_error(law: Any, rag: Any, questions: str) -> None:
    law["POST /v1/query"] = httpx.Response(500, json={"title": "x", "detail": "it broke"})
    result = rag("eval", questions)
    assert result.exit_code == 1
    assert "1 failed: it broke" in result.stdout


def test_bad_input_is_one_line(law: Any, rag: Any, tmp_path: Path, questions: str) -> None:
    for arguments, said in (
        ([str(tmp_path / "none.jsonl")], "none.jsonl cannot be read"),
        ([questions, "--ingest"], "--ingest needs a folder"),
        ([questions, "--json", str(tmp_path / "no" / "out.json")], "out.json cannot be written"),
    ):
        result = rag("eval", *arguments)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert said in line


def test_a_corpus_is_handed_in_first(law: Any, rag: Any, tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "Rok?"}\n')
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "title": "A", "text": "Rok je 15 dana."}\n')
    documents = [{"id": "a.md", "filename": "a.md"}]
    law["POST /v1/documents"] = httpx.Response(202, json={"job_id": "j", "documents": documents})
    counts = {"indexed": 1, "failed": 0, "cancelled": 0}
    job: dict[str, Any] = {
        "state": "completed",
        "counts": counts,
        "bulk": None,
        "documents": [{"id": "a.md", "state": "indexed", "warnings": []}],
    }
    law["GET /v1/jobs/j"] = httpx.Response(200, json=job)
    result = rag("eval", str(tmp_path), "--collection", "c", "--ingest", "--no-answers")
    assert result.exit_code == 0, result.output
    sent = law.requests[0].content.decode()
    assert 'filename="a.md"' in sent
    assert "# A\n\nRok je 15 dana." in sent
    job["documents"][0] |= {"state": "failed", "error": {"detail": "too large"}}
    law["GET /v1/jobs/j"] = httpx.Response(200, json=job)
    result = rag("eval", str(tmp_path), "--collection", "c", "--ingest")
    assert "1 of 1 documents failed, first a.md: too large" in result.stderr
