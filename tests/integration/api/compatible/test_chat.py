"""POST /v1/chat/completions, as it is on the wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from deployments.errors import Overloaded, PromptTooLong, StageUnavailable
from deployments.types import Message, Sampling, StageStatus
from serve_app.api.app import create_app
from serve_app.api.compatible.openai import ChatCompletion
from serve_app.storage.log_tables import QueryLogEntry
from tests.integration.api.compatible.conftest import chunks, fits, openai_error
from tests.integration.api.conftest import LIMITS, Api
from tests.integration.api.test_access import change

CHAT = "/v1/chat/completions"
RAW = "none"
"""The raw model: what the scripted engine says that it serves."""


def asked(model: str = "rag", content: Any = "Koji je rok?", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


async def test_rag_answers_with_sources_and_citations(api: Api) -> None:
    answer = await api.client.post(CHAT, json=asked())
    completion = fits(ChatCompletion, answer.text)
    assert (completion["id"], completion["model"]) == (f"chatcmpl-{answer.headers['x-query-id']}", "rag")
    (choice,) = completion["choices"]
    message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == ("Rok je 15 dana. [1]", "stop")
    assert [source["id"] for source in message["sources"]] == ["p1", "p2", "p3", "p4", "p5"]
    (annotation,) = message["annotations"]
    assert (annotation["status"], message["grounding"]["unsupported"]) == ("unsupported", 1)
    assert annotation["url_citation"] == {
        "start_index": 0, "end_index": 15, "title": "Naslov 1", "url": "/v1/documents/d1",
    }  # fmt: skip
    assert completion["usage"] == {
        "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


async def test_rag_as_a_stream(api: Api) -> None:
    answer = await api.client.post(CHAT, json=asked(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = chunks(answer.text)
    deltas = [chunk["choices"][0]["delta"] for chunk in sent]
    assert [sorted(delta) for delta in deltas] == [
        ["content", "role", "sources"], ["content"], ["content"], ["annotations"], ["grounding"],
    ]  # fmt: skip
    assert (deltas[0]["role"], deltas[0]["content"], len(deltas[0]["sources"])) == ("assistant", "", 5)
    assert "".join(delta.get("content", "") for delta in deltas) == "Rok je 15 dana. [1]"
    assert [chunk["choices"][0]["finish_reason"] for chunk in sent] == [None] * 4 + ["stop"]
    assert {chunk["id"] for chunk in sent} == {f"chatcmpl-{answer.headers['x-query-id']}"}
    assert all("usage" not in chunk for chunk in sent)


async def test_usage_comes_last_where_it_is_asked_for(api: Api) -> None:
    answer = await api.client.post(CHAT, json=asked(stream=True, stream_options={"include_usage": True}))
    *before, last = chunks(answer.text)
    assert [chunk["usage"] for chunk in before] == [None] * len(before)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 12)


async def test_a_conversation_is_history_and_the_caller_s_system_messages_follow_the_tenant_s(api: Api) -> None:
    await change(api, prompt_preamble="You advise a trade union.")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Bok!"},
        {"role": "assistant", "content": "Dobar dan.", "refusal": None, "annotations": [], "sources": []},
        {"role": "developer", "content": [{"type": "text", "text": "No"}, {"type": "text", "text": "jokes."}]},
        {"role": "user", "content": "Koji je rok?", "name": "ana"},
    ]
    answer = await api.client.post(CHAT, json={"model": "rag", "messages": messages})
    assert answer.status_code == 200
    (request,) = api.stages.requests
    assert (request.question, request.language) == ("Koji je rok?", "hr")
    system, *history, question = request.messages
    assert system.content.startswith("You advise a trade union.\n\nBe brief.\n\nNo\njokes.\n\n")
    assert history == [Message("user", "Bok!"), Message("assistant", "Dobar dan.")]
    assert question.content.endswith("Pitanje: Koji je rok?")


async def test_what_a_question_may_have_beyond_openai_s_api(api: Api) -> None:
    await api.stores.collections.create("t", "zakoni")
    fields: dict[str, Any] = {
        "collections": ["zakoni"],
        "filter": "metadata.year >= 2018",
        "language": "en",
        "top_k": 2,
        "user": "u1",
    }
    completion = fits(ChatCompletion, (await api.client.post(CHAT, json=asked(**fields))).text)
    assert len(completion["choices"][0]["message"]["sources"]) == 2
    scope = api.stages.retrievals[0].scope
    assert (scope.tenant_id, scope.user_id, scope.collections) == ("t", "u1", ("zakoni",))
    assert scope.filter is not None
    assert api.stages.requests[0].language == "en"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_raw_model_gets_the_messages_as_they_are_and_nothing_is_looked_for(api: Api, stream: bool) -> None:
    await change(api, prompt_preamble="You advise a trade union.", model="legal")
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Bok!"},
        {"role": "assistant", "content": "Dobar dan."},
        {"role": "user", "content": "Koji je rok? [1]"},
    ]
    answer = await api.client.post(CHAT, json={"model": RAW, "messages": messages, "stream": stream})
    assert answer.status_code == 200, answer.text
    (request,) = api.stages.requests
    assert request.messages == (
        Message("system", "Be brief."),
        Message("user", "Bok!"),
        Message("assistant", "Dobar dan."),
        Message("user", "Koji je rok? [1]"),
    )
    assert (request.tenant_id, request.model, request.passages) == ("t", "", ())
    assert (request.query_id, request.question) == (answer.headers["x-query-id"], "Koji je rok? [1]")
    assert api.stages.asked == ["generation"]
    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks(answer.text)]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "Rok je "}, {"content": "15 dana. [1]"}, {}]
    else:
        message = fits(ChatCompletion, answer.text)["choices"][0]["message"]
        assert message == {
            "role": "assistant", "content": "Rok je 15 dana. [1]", "refusal": None, "annotations": [],
        }  # fmt: skip


SAMPLING: dict[str, Any] = {
    "top_p": 0.5, "presence_penalty": 1.5, "frequency_penalty": -1.5, "seed": 7, "stop": ["\n", "čš"],
    "temperature": 0.25, "max_tokens": 20,
}  # fmt: skip


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_how_tokens_are_drawn_reaches_the_engine(api: Api, model: str) -> None:
    await api.client.post(CHAT, json=asked(model, **SAMPLING))
    (request,) = api.stages.requests
    assert {name: getattr(request, name) for name in SAMPLING} == SAMPLING | {"stop": ("\n", "čš")}


@pytest.mark.parametrize(("model", "temperature"), [("rag", 0.0), (RAW, 1.0)])
async def test_what_is_left_out_is_neutral(api: Api, model: str, temperature: float) -> None:
    nothing = dict.fromkeys([*SAMPLING, "max_completion_tokens", "stream_options", "user", "tools", "n", "stream"])
    for fields in ({}, nothing):
        assert (await api.client.post(CHAT, json=asked(model, **fields))).status_code == 200
    for request in api.stages.requests:
        assert (request.temperature, request.top_p, request.stop, request.seed) == (temperature, 1.0, (), None)
        assert (request.presence_penalty, request.frequency_penalty) == (0.0, 0.0)
        assert request.max_tokens == LIMITS.max_tokens


OF_VLLM: dict[str, Any] = {
    "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 3, "ignore_eos": True, "stop_token_ids": [0, 7],
}  # fmt: skip


async def test_a_raw_model_takes_the_fields_of_vllm(api: Api) -> None:
    for top_k in (-1, 0, 5):
        answer = await api.client.post(CHAT, json=asked(RAW, **OF_VLLM, top_k=top_k))
        assert answer.status_code == 200, answer.text
    drawn = [request.sampling for request in api.stages.requests]
    assert [sampling.top_k for sampling in drawn] == [0, 0, 5]
    expected = OF_VLLM | {"stop_token_ids": (0, 7)}
    assert {name: getattr(drawn[0], name) for name in OF_VLLM} == expected
    await api.client.post(CHAT, json=asked(RAW))
    assert api.stages.requests[-1].sampling == Sampling()


@pytest.mark.parametrize("field", OF_VLLM)
async def test_for_rag_the_fields_of_vllm_are_refused_by_name_unless_they_change_nothing(api: Api, field: str) -> None:
    answer = await api.client.post(CHAT, json=asked(**{field: OF_VLLM[field]}))
    error = openai_error(answer)
    assert (answer.status_code, error["param"]) == (400, field)
    assert error["message"] == f"{field}: only raw models take it, and rag is none; leave it out"
    assert api.stages.asked == []
    neutral: dict[str, Any] = {
        "min_p": 0,
        "repetition_penalty": 1.0,
        "min_tokens": 0,
        "ignore_eos": False,
        "stop_token_ids": [],
    }
    assert (await api.client.post(CHAT, json=asked(**{field: neutral[field]}))).status_code == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"min_p": 1.1}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 10.5}, "repetition_penalty"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 21, "max_tokens": 20}, "min_tokens"),
        ({"min_tokens": LIMITS.max_tokens + 1}, "min_tokens"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
        ({"stop_token_ids": [True]}, "stop_token_ids.0"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": 1_000_001}, "top_k"),
        ({"ignore_eos": 2}, "ignore_eos"),
    ],
)
async def test_what_no_raw_model_takes(api: Api, fields: dict[str, Any], field: str) -> None:
    answer = await api.client.post(CHAT, json=asked(RAW, **fields))
    assert (answer.status_code, openai_error(answer)["param"]) == (400, field), answer.text
    assert api.stages.requests == []


async def test_usage_may_come_with_each_chunk_of_a_raw_model(api: Api) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = await api.client.post(CHAT, json=asked(RAW, stream=True, stream_options=options))
    opening, *pieces, finish, last = chunks(answer.text)
    assert (opening["usage"], finish["usage"]) == (None, None)
    assert [piece["usage"]["completion_tokens"] for piece in pieces] == [1, 2]
    assert last["usage"]["completion_tokens"] == 2
    refused = openai_error(await api.client.post(CHAT, json=asked(stream=True, stream_options=options)))
    assert refused["param"] == "stream_options.continuous_usage_stats"


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_of_two_lengths_the_newer_name_counts_and_the_limits_hold(api: Api, model: str) -> None:
    await change(api, limits={"max_tokens": 30})
    body = asked(model, max_tokens=10, max_completion_tokens=20, stop="x")
    assert (await api.client.post(CHAT, json=body)).status_code == 200
    assert (api.stages.requests[0].max_tokens, api.stages.requests[0].stop) == (20, ("x",))
    for field in ("max_tokens", "max_completion_tokens"):
        answer = await api.client.post(CHAT, json=asked(model, **{field: 31}))
        error = openai_error(answer)
        assert (answer.status_code, error["param"], error["code"]) == (400, field, "invalid_request")
        assert "at most 30" in error["message"]
    assert (await api.client.post(CHAT, json=asked(model))).status_code == 200
    assert api.stages.requests[-1].max_tokens == 30


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_a_tenant_s_deadline_holds(api: Api, model: str) -> None:
    await change(api, limits={"deadline_s": 0.05})
    api.stages.delays["generation"] = 30
    answer = await api.client.post(CHAT, json=asked(model))
    assert (answer.status_code, openai_error(answer)["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("serving", "models"),
    [
        (StageStatus(True, "vllm", "Qwen/Qwen3-8B"), ["Qwen/Qwen3-8B", "tiny", "legal"]),
        (StageStatus(True, "fake"), ["fake"]),
        (StageStatus(True, "extractive"), []),
    ],
)
async def test_raw_models_are_what_serves_and_its_adapters(api: Api, serving: StageStatus, models: list[str]) -> None:
    api.stages.serving = serving
    for model in models:
        assert (await api.client.post(CHAT, json=asked(model))).status_code == 200
    assert [request.model for request in api.stages.requests] == ["", "tiny", "legal"][: len(models)]
    answer = await api.client.post(CHAT, json=asked("gpt-4o"))
    error = openai_error(answer)
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert all(repr(model) in error["message"] for model in ["rag", *models])


async def test_rag_is_answered_by_the_tenant_s_model(api: Api) -> None:
    await change(api, model="legal")
    assert fits(ChatCompletion, (await api.client.post(CHAT, json=asked())).text)["model"] == "rag"
    assert api.stages.requests[0].model == "legal"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Koji je rok?"}, "messages"),
    ({"messages": [{"role": "function", "name": "f", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0.content"),
    ({"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}]},
     "messages.0.tool_calls.0.function"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"n": 2}, "n"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": {"type": "text", "json_schema": {"name": "a", "schema": {}}}}, "response_format"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
    ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"presence_penalty": -2.1}, "presence_penalty"),
    ({"frequency_penalty": 2.1}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": list("abcde")}, "stop"),
    ({"stop": [""]}, "stop.0"),
    ({"max_tokens": "3"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"temperature": "0.5"}, "temperature"),
    ({"seed": -(2**63) - 1}, "seed"),
    ({"stream_options": {"usage": True}}, "stream_options.usage"),
    ({"temprature": 1}, "temprature"),
]  # fmt: skip


@pytest.mark.parametrize("model", ["rag", RAW])
@pytest.mark.parametrize(("fields", "field"), REFUSED)
async def test_what_cannot_be_done_is_refused_by_its_name(
    api: Api, model: str, fields: dict[str, Any], field: str
) -> None:
    body = json.dumps(asked(model) | fields)
    answer = await api.client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    error = openai_error(answer)
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", field), error
    assert error["message"].startswith(f"{field}: ")
    assert "; messages: " not in error["message"]
    assert api.stages.asked == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * (LIMITS.max_query_characters + 1)}]}, "messages"),
        ({"top_k": 51}, "top_k"),
        ({"top_k": 0}, "top_k"),
        ({"filter": "metadata.year >="}, "filter"),
    ],
)
async def test_what_no_question_of_documents_may_be(api: Api, fields: dict[str, Any], field: str) -> None:
    answer = await api.client.post(CHAT, json=asked() | fields)
    assert (answer.status_code, openai_error(answer)["param"]) == (400, field), answer.text
    assert api.stages.asked == []


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([("user", "a"), ("assistant", "b")], "the last one is of role assistant"),
        ([("system", "a")], "there is none of role user"),
    ],
)
async def test_a_chat_that_does_not_end_with_the_user_s_turn_says_what_to_send(
    api: Api, messages: list[tuple[str, str]], told: str
) -> None:
    body = {"model": "rag", "messages": [{"role": role, "content": content} for role, content in messages]}
    error = openai_error(await api.client.post(CHAT, json=body))
    assert error["message"] == f"messages: {told}; send the question last, with role user"


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_fields_that_nobody_knows_may_be_null(api: Api, model: str) -> None:
    unknown = {"reasoning": None, "web_search_options": None}
    message = {"role": "user", "content": "Koji je rok?", "tool_call_id": None}
    body = asked(model, stream_options={"continuous": None}) | unknown | {"messages": [message]}
    assert (await api.client.post(CHAT, json=body)).status_code == 200


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_the_assistant_s_turns_may_be_empty_or_in_parts(api: Api, model: str) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "refusal", "refusal": "d"}]},
        {"role": "user", "content": "Koji je rok?"},
    ]
    answer = await api.client.post(CHAT, json={"model": model, "messages": messages})
    assert answer.status_code == 200, answer.text
    said = [message.content for message in api.stages.requests[0].messages if message.role == "assistant"]
    assert said == ["", "c\nd"]


@pytest.mark.parametrize("kind", [["text"], {"text": 1}, 7, None, "image_url"])
async def test_a_part_that_is_no_text_is_refused_whatever_its_type(api: Api, kind: Any) -> None:
    messages = [{"role": "user", "content": [{"type": kind, "text": "a"}]}]
    answer = await api.client.post(CHAT, json={"model": "rag", "messages": messages})
    assert answer.status_code == 400
    assert "only text is read" in openai_error(answer)["message"]


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_a_seed_may_be_negative(api: Api, model: str) -> None:
    assert (await api.client.post(CHAT, json=asked(model, seed=-1))).status_code == 200
    assert api.stages.requests[0].seed == -1


async def test_openai_s_headers_tell_the_tenant_s_rate(api: Api) -> None:
    await change(api, limits={"requests_per_minute": 600})
    for stream in (False, True):
        answer = await api.client.post(CHAT, json=asked(stream=stream))
        told = {name.removeprefix("x-ratelimit-"): answer.headers[name] for name in answer.headers if "x-rate" in name}
        _, remaining, reset = answer.headers["ratelimit"].split(";")
        assert told == {
            "limit-requests": "600",
            "remaining-requests": remaining.removeprefix("r="),
            "reset-requests": f"{reset.removeprefix('t=')}s",
        }
    others = [
        ("/v1/responses", {"model": "rag", "input": "q", "stream": True}),
        ("/v1/completions", {"model": RAW, "prompt": "q", "stream": True}),
        ("/v1/embeddings", {"model": "org/embedder", "input": "q"}),
    ]
    for path, body in others:
        answer = await api.client.post(path, json=body)
        assert (answer.status_code, answer.headers["x-ratelimit-limit-requests"]) == (200, "600"), path
    own = await api.client.post("/v1/search", json={"query": "q"})
    assert "ratelimit" in own.headers
    assert "x-ratelimit-limit-requests" not in own.headers


async def test_a_collection_that_is_not_there_is_not_found(api: Api) -> None:
    answer = await api.client.post(CHAT, json=asked(collections=["nema"]))
    assert (answer.status_code, openai_error(answer)["code"]) == (404, "unknown_collection")


@pytest.mark.parametrize("fields", [{"collections": ["default"]}, {"filter": "x"}, {"language": "hr"}])
async def test_a_raw_model_looks_into_no_documents(api: Api, fields: dict[str, Any]) -> None:
    answer = await api.client.post(CHAT, json=asked(RAW, **fields))
    assert (answer.status_code, openai_error(answer)["param"]) == (400, next(iter(fields)))
    assert api.stages.asked == []


async def test_what_changes_nothing_is_taken(api: Api) -> None:
    ignored = {
        "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "parallel_tool_calls": False,
        "prompt_cache_key": "k", "safety_identifier": "s", "reasoning_effort": "low", "verbosity": "low",
        "stream_options": {"include_obfuscation": False},
        "n": 1, "logprobs": False, "tools": [], "tool_choice": "none", "response_format": {"type": "text"},
        "modalities": ["text"], "logit_bias": {},
    }  # fmt: skip
    for model in ("rag", RAW):
        assert (await api.client.post(CHAT, json=asked(model, **ignored))).status_code == 200


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_a_failing_stage_is_an_error_or_the_stream_s_last_event(api: Api, model: str) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation is gone; try again")
    whole = await api.client.post(CHAT, json=asked(model))
    assert (whole.status_code, whole.headers["retry-after"]) == (503, "2")
    told = {
        "message": "generation is gone; try again", "type": "server_error", "param": None, "code": "stage_unavailable",
    }  # fmt: skip
    assert openai_error(whole) == told
    stream = await api.client.post(CHAT, json=asked(model, stream=True))
    if model == RAW:  # nothing was sent before
        assert (stream.status_code, openai_error(stream)) == (503, told)
        return
    assert stream.status_code == 200
    chunks(stream.text, done=False)
    assert json.loads(stream.text.split("data: ")[-1]) == {"error": told}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_beyond_the_model_s_context_is_refused_with_its_status(api: Api, stream: bool) -> None:
    api.stages.failures["generation"] = PromptTooLong("messages: 9000 tokens; 4096 are allowed")
    answer = await api.client.post(CHAT, json=asked(RAW, stream=stream))
    assert (answer.status_code, openai_error(answer)["code"]) == (400, "context_length_exceeded")


async def test_an_unexpected_error_says_nothing_of_the_inside(api: Api) -> None:
    api.stages.failures["ending"] = ZeroDivisionError("secret")  # type: ignore[assignment]
    whole = await api.client.post(CHAT, json=asked(RAW))
    assert (whole.status_code, openai_error(whole)["code"]) == (500, "internal_error")
    stream = await api.client.post(CHAT, json=asked(RAW, stream=True))
    assert json.loads(stream.text.split("data: ")[-1])["error"]["code"] == "internal_error"
    assert "secret" not in whole.text + stream.text
    assert len(chunks(stream.text, done=False)) == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["rag", RAW])
async def test_a_client_that_goes_away_aborts_its_query(api: Api, model: str, stream: bool) -> None:
    api.stages.delays["token"] = 30
    task = asyncio.create_task(api.client.post(CHAT, json=asked(model, stream=stream)))
    while "generation" not in api.stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.stages.aborted == [("t", api.stages.requests[0].query_id)]


async def test_every_chat_is_in_the_query_log(api: Api) -> None:
    answers = [
        await api.client.post(CHAT, json=asked(model, stream=stream, user="u1"))
        for model in ("rag", RAW)
        for stream in (False, True)
    ]
    ids = [answer.headers["x-query-id"] for answer in answers]
    api.stages.failures["generation"] = Overloaded("generation is full")
    await api.client.post(CHAT, json=asked(RAW))
    await api.stores.events.drain()
    async with api.stores.tenants.database.session() as session:
        rows = {row.query_id: row for row in await session.scalars(select(QueryLogEntry))}
    assert [(rows[id_].outcome, rows[id_].user) for id_ in ids] == [("stop", "u1")] * 4
    assert [rows[id_].sources for id_ in ids] == [5, 5, 0, 0]
    assert [row.outcome for row in rows.values() if row.query_id not in ids] == ["overloaded"]


async def test_silence_is_filled_with_comments(api: Api) -> None:
    api.stages.delays["token"] = 0.1
    app = create_app(api.services_with(heartbeat_s=0.02))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rag.test") as other:
        answer = await other.post(CHAT, json=asked(stream=True), headers=api.client.headers)
    assert ": ping\n\n" in answer.text
    assert len(chunks(answer.text)) == 5
