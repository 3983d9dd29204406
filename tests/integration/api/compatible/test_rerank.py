"""POST /v1/rerank and /v2/rerank, as they are on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve_app.api.compatible.cohere import CohereError, RerankAnswer
from tests.integration.api.compatible.conftest import fits
from tests.integration.api.conftest import LIMITS, Api
from tests.integration.api.test_access import change

MODEL = "org/reranker"
TEXTS = ["a" * 20, "a" * 90, "a" * 50]
"""The scripted reranker prefers long texts: a hundred letters are 1."""


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "query": "Koji je rok?", "documents": TEXTS, **fields}


async def test_the_second_version(api: Api) -> None:
    answer = await api.client.post("/v2/rerank", json=asked(max_tokens_per_doc=4096, priority=0))
    body = fits(RerankAnswer, answer.text)
    assert body["results"] == [
        {"index": 1, "relevance_score": 0.9},
        {"index": 2, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.2},
    ]
    assert body["meta"] == {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    assert api.stages.scored == [("Koji je rok?", TEXTS)]


async def test_the_first_version(api: Api) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1], "title": "T"}, {"text": TEXTS[2]}]
    body = asked(documents=documents, return_documents=True, rank_fields=["text"], max_chunks_per_doc=10, top_n=2)
    del body["model"]
    answer = fits(RerankAnswer, (await api.client.post("/v1/rerank", json=body)).text)
    assert answer["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": TEXTS[1], "title": "T"}},
        {"index": 2, "relevance_score": 0.5, "document": {"text": TEXTS[2]}},
    ]
    assert answer["meta"]["api_version"] == {"version": "1"}
    bare = fits(RerankAnswer, (await api.client.post("/v1/rerank", json=asked())).text)
    assert [sorted(each) for each in bare["results"]] == [["index", "relevance_score"]] * 3


async def test_the_second_version_gives_documents_too_where_they_are_asked_for(api: Api) -> None:
    answer = fits(RerankAnswer, (await api.client.post("/v2/rerank", json=asked(return_documents=True))).text)
    documents = asked()["documents"]
    assert [each["document"] for each in answer["results"]] == [
        {"text": documents[each["index"]]} for each in answer["results"]
    ]
    for left_out in (False, None):
        bare = fits(RerankAnswer, (await api.client.post("/v2/rerank", json=asked(return_documents=left_out))).text)
        assert all("document" not in each for each in bare["results"])


@pytest.mark.parametrize(("documents", "units"), [(1, 1), (100, 1), (101, 2)])
async def test_a_unit_is_a_hundred_documents(api: Api, documents: int, units: int) -> None:
    for path in ("/v1/rerank", "/v2/rerank"):
        body = (await api.client.post(path, json=asked(documents=["a"] * documents))).json()
        assert body["meta"]["billed_units"] == {"search_units": units}
        assert [each["index"] for each in body["results"]] == list(range(documents))  # equal ones keep their order


@pytest.mark.parametrize("score", [-0.1, 1.1])
async def test_scores_lie_between_0_and_1(api: Api, monkeypatch: pytest.MonkeyPatch, score: float) -> None:
    async def rounded(query: str, texts: list[str]) -> list[float]:
        return [score] * len(texts)

    monkeypatch.setattr(api.stages, "score", rounded)
    body = fits(RerankAnswer, (await api.client.post("/v2/rerank", json=asked())).text)
    assert {each["relevance_score"] for each in body["results"]} == {min(max(score, 0), 1)}


BOTH: list[tuple[dict[str, Any], str]] = [
    ({"query": ""}, "query"),
    ({"query": None}, "query"),
    ({"query": "q" * (LIMITS.max_query_characters + 1)}, "query"),
    ({"documents": []}, "documents"),
    ({"documents": "a"}, "documents"),
    ({"documents": ["a", 7]}, "documents"),
    ({"documents": ["a", "\ud800"]}, "documents"),
    ({"documents": ["a"] * (LIMITS.max_inputs + 1)}, "documents"),
    ({"documents": ["a", "b" * (LIMITS.max_input_characters + 1)]}, "documents[1]"),
    ({"top_n": 0}, "top_n"),
    ({"topn": 1}, "topn"),
]
OF_ONE: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/rerank", {"documents": [{"title": "a"}]}, "documents.0"),
    ("/v1/rerank", {"rank_fields": ["title", "text"]}, "rank_fields"),
    ("/v1/rerank", {"max_chunks_per_doc": 0}, "max_chunks_per_doc"),
    ("/v1/rerank", {"max_tokens_per_doc": 100}, "max_tokens_per_doc"),
    ("/v2/rerank", {"model": None}, "model"),
    ("/v2/rerank", {"documents": [{"text": "a"}]}, "documents.0"),
    ("/v2/rerank", {"relevant_spans": {"enabled": True}}, "relevant_spans"),
    ("/v2/rerank", {"priority": 1000}, "priority"),
]


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [*((path, *each) for path in ("/v1/rerank", "/v2/rerank") for each in BOTH), *OF_ONE],
)
async def test_bad_input_is_refused_by_its_name(api: Api, path: str, fields: dict[str, Any], field: str) -> None:
    body = json.dumps(asked() | fields)
    answer = await api.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    error = fits(CohereError, answer.text)
    assert error["id"] == answer.headers["x-request-id"]
    assert error["message"].startswith(field)
    assert api.stages.asked == []


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_another_model_is_not_found(api: Api, path: str) -> None:
    answer = await api.client.post(path, json=asked(model="rerank-v3.5"))
    assert answer.status_code == 404
    assert repr(MODEL) in fits(CohereError, answer.text)["message"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_its_body_may_be_larger_than_a_question_s_and_its_deadline_is_the_tenant_s(api: Api, path: str) -> None:
    large = asked(documents=["a" * LIMITS.max_query_body_bytes])
    assert (await api.client.post(path, json=large)).status_code == 200
    answer = await api.client.post(path, content=b" " * (LIMITS.max_texts_body_bytes + 1))
    assert answer.status_code == 413
    fits(CohereError, answer.text)
    await change(api, limits={"deadline_s": 0.05})
    api.stages.delays["reranking"] = 30
    answer = await api.client.post(path, json=asked())
    assert answer.status_code == 504
