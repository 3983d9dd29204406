"""POST /v1/completions, as it is on the wire and to OpenAI's client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from deployments.errors import PromptTooLong, StageUnavailable
from deployments.types import Message, Sampling
from serve_app.api.compatible.text_completion_schema import TextCompletion
from tests.integration.api.compatible.conftest import chunks, fits, openai_error
from tests.integration.api.compatible.test_chat import OF_VLLM, RAW, SAMPLING
from tests.integration.api.conftest import Api

COMPLETIONS = "/v1/completions"


def asked(prompt: Any = "Rok je", **fields: Any) -> dict[str, Any]:
    return {"model": RAW, "prompt": prompt, **fields}


@pytest.mark.parametrize("prompt", ["Rok je", ["Rok je"]])
async def test_a_raw_model_continues_the_text(api: Api, prompt: Any) -> None:
    answer = await api.client.post(COMPLETIONS, json=asked(prompt))
    completion = fits(TextCompletion, answer.text)
    assert completion["id"] == f"cmpl-{answer.headers['x-query-id']}"
    assert completion["choices"] == [
        {"index": 0, "text": "Rok je 15 dana. [1]", "logprobs": None, "finish_reason": "stop"}
    ]
    assert completion["usage"]["total_tokens"] == 12
    (request,) = api.stages.requests
    assert (request.continued, request.messages, request.passages) == ("Rok je", (), ())
    assert (request.tenant_id, request.temperature, request.sampling) == ("t", 1.0, Sampling())
    assert api.stages.asked == ["generation"]


async def test_as_a_stream(api: Api) -> None:
    options = {"include_usage": True}
    answer = await api.client.post(COMPLETIONS, json=asked(stream=True, stream_options=options))
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, finish, last = chunks(answer.text, shape=TextCompletion)
    assert [piece["choices"][0]["text"] for piece in pieces] == ["Rok je ", "15 dana. [1]"]
    assert [piece["usage"] for piece in [*pieces, finish]] == [None] * 3
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)
    counted = await api.client.post(
        COMPLETIONS, json=asked(stream=True, stream_options=options | {"continuous_usage_stats": True})
    )
    first, *_ = chunks(counted.text, shape=TextCompletion)
    assert first["usage"]["completion_tokens"] == 1
    plain = await api.client.post(COMPLETIONS, json=asked(stream=True))
    assert all("usage" not in chunk for chunk in chunks(plain.text, shape=TextCompletion))


async def test_how_tokens_are_drawn_reaches_the_engine(api: Api) -> None:
    answer = await api.client.post(COMPLETIONS, json=asked(**SAMPLING, **OF_VLLM, top_k=5))
    assert answer.status_code == 200, answer.text
    (request,) = api.stages.requests
    assert {name: getattr(request, name) for name in SAMPLING} == SAMPLING | {"stop": ("\n", "čš")}
    assert (request.sampling.top_k, request.sampling.ignore_eos) == (5, True)


async def test_what_vllm_s_benchmark_client_sends(api: Api) -> None:
    sent = asked(repetition_penalty=1.0, max_tokens=16, logprobs=None, stream=True, ignore_eos=True, temperature=0.0)
    answer = await api.client.post(COMPLETIONS, json=sent | {"stream_options": {"include_usage": True}})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "rag"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2, 3]]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [{"text": "a"}]}, "prompt"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"logprobs": 0}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"suffix": "."}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
        ({"stop": list("abcde")}, "stop"),
        ({"collections": ["zakoni"]}, "collections"),
        ({"messages": []}, "messages"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(api: Api, fields: dict[str, Any], field: str) -> None:
    answer = await api.client.post(COMPLETIONS, json=asked() | fields)
    error = openai_error(answer)
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", field), error
    assert api.stages.requests == []


async def test_rag_is_pointed_to_chats(api: Api) -> None:
    error = openai_error(await api.client.post(COMPLETIONS, json=asked(model="rag")))
    assert error["message"] == ("model: rag answers chats only; send this to /v1/chat/completions, or name a raw model")


async def test_an_unknown_model_and_a_key_that_is_none(api: Api) -> None:
    answer = await api.client.post(COMPLETIONS, json=asked(model="gpt-4o"))
    assert (answer.status_code, openai_error(answer)["code"]) == (404, "model_not_found")
    answer = await api.client.post(COMPLETIONS, json=asked(), headers={"Authorization": "Bearer no"})
    assert (answer.status_code, openai_error(answer)["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_byte_has_its_status(api: Api, stream: bool) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation has no replica")
    answer = await api.client.post(COMPLETIONS, json=asked(stream=stream))
    assert (answer.status_code, openai_error(answer)["type"]) == (503, "server_error")
    api.stages.failures["generation"] = PromptTooLong("the prompt has 9000 tokens: send less")
    answer = await api.client.post(COMPLETIONS, json=asked(stream=stream))
    assert (answer.status_code, openai_error(answer)["code"]) == (400, "context_length_exceeded")


async def test_openai_s_client_reads_it(api: Api, client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(model=RAW, prompt="Rok je", max_tokens=20, extra_body={"top_k": 3})
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("Rok je 15 dana. [1]", "stop")
    stream = await client.completions.create(model=RAW, prompt="Rok je", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Rok je 15 dana. [1]"
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(model=RAW, prompt="Rok je", echo=True)
    assert refused.value.param == "echo"
    assert Message("user", "Rok je") not in api.stages.requests[-1].messages
