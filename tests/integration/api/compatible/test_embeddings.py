"""POST /v1/embeddings, as it is on the wire."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from openai.types import CreateEmbeddingResponse

from serve_app.api.compatible.embeddings import TEXTS_A_CALL
from serve_app.api.compatible.openai import EmbeddingsAnswer
from tests.integration.api.compatible.conftest import extras, fits, openai_error
from tests.integration.api.conftest import LIMITS, Api
from tests.integration.api.test_access import change

MODEL = "org/embedder"


async def embedded(api: Api, given: Any, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/embeddings", json={"model": MODEL, "input": given, **fields})
    assert answer.status_code == 200, answer.text
    if fields.get("encoding_format") != "base64":  # of which their types know only what their client makes of it
        assert not extras(CreateEmbeddingResponse.model_validate_json(answer.text, strict=True))
    return fits(EmbeddingsAnswer, answer.text)


async def test_each_text_has_its_vector_in_order(api: Api) -> None:
    body = await embedded(api, ["a", "bb b"])
    assert [(each["object"], each["index"]) for each in body["data"]] == [("embedding", 0), ("embedding", 1)]
    expected = np.array([[1, 1, 2, 3], [4, 1, 2, 3]], np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.array_equal(np.array([each["embedding"] for each in body["data"]], np.float32), expected)
    assert (body["object"], body["model"], body["usage"]) == ("list", MODEL, {"prompt_tokens": 3, "total_tokens": 3})
    assert api.stages.embedded == [(["a", "bb b"], "passage")]


async def test_one_text_may_stand_alone_and_say_that_it_is_a_query(api: Api) -> None:
    body = await embedded(api, "a", input_type="query", user="u", encoding_format=None, dimensions=None)
    assert len(body["data"]) == 1
    assert api.stages.embedded == [(["a"], "query")]


async def test_base64_is_little_endian_float32(api: Api) -> None:
    (floats,) = (await embedded(api, "abc", encoding_format="float"))["data"]
    (packed,) = (await embedded(api, "abc", encoding_format="base64"))["data"]
    vector = np.frombuffer(base64.b64decode(packed["embedding"], validate=True), "<f4")
    assert vector.tolist() == floats["embedding"]


async def test_dimensions_keep_the_first_at_unit_length(api: Api) -> None:
    (whole,) = (await embedded(api, "abc"))["data"]
    (cut,) = (await embedded(api, "abc", dimensions=2))["data"]
    expected = np.array(whole["embedding"][:2]) / np.linalg.norm(whole["embedding"][:2])
    assert np.allclose(cut["embedding"], expected, atol=1e-6)
    answer = await api.client.post("/v1/embeddings", json={"model": MODEL, "input": "a", "dimensions": 5})
    error = openai_error(answer)
    assert (answer.status_code, error["param"]) == (400, "dimensions")
    assert "have 4" in error["message"]


async def test_many_texts_take_several_calls(api: Api) -> None:
    body = await embedded(api, ["x" * (n % 50 + 1) for n in range(TEXTS_A_CALL + 1)])
    assert [len(texts) for texts, _ in api.stages.embedded] == [TEXTS_A_CALL, 1]
    assert [each["index"] for each in body["data"]] == list(range(TEXTS_A_CALL + 1))
    assert body["data"][0]["embedding"] == body["data"][50]["embedding"] != body["data"][1]["embedding"]
    assert body["usage"]["prompt_tokens"] == TEXTS_A_CALL + 1


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"input": [1, 2, 3]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, "input", "token ids"),
        ({"input": []}, "input", ""),
        ({"input": ""}, "input.0", ""),
        ({"input": ["a", ""]}, "input.1", ""),
        ({"input": None}, "input", ""),
        ({"input": {"text": "a"}}, "input", ""),
        ({"input": "\ud800"}, "input.0", "surrogate"),
        ({"input": ["a"] * (LIMITS.max_inputs + 1)}, "input", str(LIMITS.max_inputs)),
        ({"input": ["a", "b" * (LIMITS.max_input_characters + 1)]}, "input", "input[1]"),
        ({"encoding_format": "int8"}, "encoding_format", ""),
        ({"input_type": "search_query"}, "input_type", ""),
        ({"dimensions": 0}, "dimensions", ""),
        ({"truncate": "END"}, "truncate", ""),
    ],
)
async def test_bad_input_is_refused_by_its_name(api: Api, fields: dict[str, Any], field: str, says: str) -> None:
    body = json.dumps({"model": MODEL, "input": "a"} | fields)
    answer = await api.client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    error = openai_error(answer)
    assert (answer.status_code, error["param"]) == (400, field), error
    assert says in error["message"]
    assert api.stages.asked == []


async def test_another_model_is_not_found(api: Api) -> None:
    answer = await api.client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "a"})
    error = openai_error(answer)
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert repr(MODEL) in error["message"]


async def test_its_body_may_be_larger_than_a_question_s(api: Api) -> None:
    texts = ["a" * LIMITS.max_query_body_bytes, "b"]
    assert len((await embedded(api, texts))["data"]) == 2
    answer = await api.client.post("/v1/embeddings", content=b" " * (LIMITS.max_texts_body_bytes + 1))
    assert (answer.status_code, openai_error(answer)["code"]) == (413, "document_too_large")


async def test_the_deadline_is_the_request_s_and_the_tenant_s(api: Api) -> None:
    api.stages.delays["embedding"] = 30
    body = {"model": MODEL, "input": "a"}
    answer = await api.client.post("/v1/embeddings", json=body, headers={"X-Deadline-Ms": "50"})
    assert (answer.status_code, openai_error(answer)["code"]) == (504, "deadline_exceeded")
    await change(api, limits={"deadline_s": 0.05})
    assert (await api.client.post("/v1/embeddings", json=body)).status_code == 504
