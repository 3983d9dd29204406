"""POST /v1/responses, on the wire and as OpenAI's own client reads it."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response as TheirResponse

from deployments.errors import StageUnavailable
from deployments.types import Message, Sampling, Usage
from serve_app.api.compatible.response_events import ResponseAnswer
from serve_app.api.compatible.responses_schema import ResponseEvent, ResponseObject, ResponsesRequest
from serve_app.query.answer_events import Chunk, Complete
from tests.integration.api.compatible.conftest import extras, fits, openai_error
from tests.integration.api.conftest import Api

RESPONSES = "/v1/responses"
RAW = "none"


def asked(model: str = "rag", **fields: Any) -> dict[str, Any]:
    return {"model": model, "input": "Koji je rok?", **fields}


def whole(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    TheirResponse.model_validate_json(answer.text)
    assert extras(TheirResponse.model_validate_json(answer.text)) <= {"sources", "grounding", "status", "store"}
    return fits(ResponseObject, answer.text)


def events(body: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            event = fits(ResponseEvent, fields["data"])
            assert (event["type"], event["sequence_number"]) == (fields["event"], len(sent))
            sent.append(event)
    return sent


async def test_rag_answers_with_sources_and_citations(api: Api) -> None:
    answer = await api.client.post(RESPONSES, json=asked())
    response = whole(answer)
    assert (response["id"], response["status"]) == (f"resp_{answer.headers['x-query-id']}", "completed")
    [message] = response["output"]
    [part] = message["content"]
    assert part["text"] == "Rok je 15 dana. [1]"
    assert part["annotations"] == [
        {
            "type": "url_citation", "status": "unsupported", "start_index": 0, "end_index": 15, "title": "Naslov 1",
            "url": "/v1/documents/d1",
        }
    ]  # fmt: skip
    assert (len(message["sources"]), message["grounding"]["unsupported"]) == (5, 1)
    assert response["usage"]["total_tokens"] == 12


@pytest.mark.parametrize("model", ["rag", RAW])
async def test_a_stream_has_typed_events_and_ends_with_the_whole_response(api: Api, model: str) -> None:
    sent = events((await api.client.post(RESPONSES, json=asked(model, stream=True))).text)
    cited = ["output_text.annotation.added"] if model == "rag" else []
    assert [event["type"].removeprefix("response.") for event in sent] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        *cited, "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert "".join(event.get("delta", "") for event in sent) == "Rok je 15 dana. [1]"
    once = whole(await api.client.post(RESPONSES, json=asked(model)))
    changing = {"id", "created_at", "output"}
    assert {name: sent[-1]["response"][name] for name in once.keys() - changing} == {
        name: once[name] for name in once.keys() - changing
    }
    assert sent[-1]["response"]["output"][0]["content"] == once["output"][0]["content"]


async def test_input_and_instructions_are_a_conversation(api: Api) -> None:
    conversation = [
        {"role": "user", "content": "Bok!"},
        {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Dobar dan.", "annotations": [], "logprobs": []}],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Koji je rok?"}]},
    ]  # fmt: skip
    body = {"model": RAW, "input": conversation, "instructions": "Be brief.", "max_output_tokens": 20, "top_p": 0.5}
    whole(await api.client.post(RESPONSES, json=body))
    [request] = api.stages.requests
    assert request.messages == (
        Message("system", "Be brief."),
        Message("user", "Bok!"),
        Message("assistant", "Dobar dan."),
        Message("user", "Koji je rok?"),
    )
    assert (request.max_tokens, request.top_p, request.temperature) == (20, 0.5, 1.0)


SAMPLING: dict[str, Any] = {
    "temperature": 0.3, "top_p": 0.5, "presence_penalty": 1.0, "frequency_penalty": -1.0, "seed": 7,
}  # fmt: skip
OF_VLLM: dict[str, Any] = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 3, "ignore_eos": True}


async def test_tokens_are_chosen_as_in_chats(api: Api) -> None:
    """vLLM's fields are those of its own route, which guidellm sends: ignore_eos, and stop as null."""
    for fields in (SAMPLING | OF_VLLM | {"stop": "x", "stop_token_ids": [7]}, {"stop": None}):
        whole(await api.client.post(RESPONSES, json=asked(RAW, **fields)))
    request, plain = api.stages.requests
    assert {name: getattr(request, name) for name in SAMPLING} == SAMPLING
    assert {name: getattr(request.sampling, name) for name in OF_VLLM} == OF_VLLM
    assert (request.stop, request.sampling.stop_token_ids) == (("x",), (7,))
    assert (plain.temperature, plain.stop, plain.sampling) == (1.0, (), Sampling())
    whole(await api.client.post(RESPONSES, json=asked(**SAMPLING, stop=["x"])))
    assert {name: getattr(api.stages.requests[-1], name) for name in SAMPLING} == SAMPLING


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"ignore_eos": True}, "ignore_eos", "only raw models"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "not kept"),
        ({"conversation": "conv_1"}, "conversation", "not kept"),
        ({"background": True}, "background", "not kept"),
        ({"tools": [{"type": "web_search"}]}, "tools", "only functions"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools", "only raw models"),
        ({"tool_choice": "required"}, "tool_choice", "only raw models"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "needs both"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format", "only raw models"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "a"}]}, "input", "raw models"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input.0", "only messages"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content", "only text"),
        ({"input": [{"role": "assistant", "content": "a"}]}, "input", "send the question last"),
        ({"input": "a" * 8_001}, "input", "at most 8000"),
        ({"max_output_tokens": 4_097}, "max_output_tokens", "at most 4096"),
        ({"max_tokens": 5}, "max_tokens", "there is no such field; leave it out"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(
    api: Api, fields: dict[str, Any], field: str, says: str
) -> None:
    answer = await api.client.post(RESPONSES, json=asked(**fields))
    error = openai_error(answer)
    assert (answer.status_code, error["param"]) == (400, field), error
    assert says in error["message"]
    assert api.stages.asked == []


async def test_what_fails_before_the_first_byte_has_its_status_and_later_is_an_event(api: Api) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation is gone; try again")
    for stream in (False, True):
        answer = await api.client.post(RESPONSES, json=asked(RAW, stream=stream))
        assert (answer.status_code, openai_error(answer)["code"]) == (503, "stage_unavailable")
    *_, error, failed = events((await api.client.post(RESPONSES, json=asked(stream=True))).text)
    assert (error["type"], error["code"], error["message"]) == (
        "error", "stage_unavailable", "generation is gone; try again",
    )  # fmt: skip
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")


@pytest.mark.parametrize("asked_for", [{"type": "json_schema", "name": "rok", "schema": {"type": "object"}}, None])
async def test_a_raw_model_may_be_held_to_a_json_schema(api: Api, asked_for: dict[str, Any] | None) -> None:
    asked_for = asked_for or {"type": "json_object"}
    response = whole(await api.client.post(RESPONSES, json=asked(RAW, text={"format": asked_for})))
    assert response["text"] == {"format": asked_for}
    assert api.stages.requests[0].sampling.json_schema == '{"type": "object"}'.replace(
        " ", "" if asked_for == {"type": "json_object"} else " "
    )


async def test_openai_s_client_reads_it(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(model="rag", input="Koji je rok?", extra_body={"top_k": 1})
    assert response.output_text == "Rok je 15 dana. [1]"
    text = ""
    async with client.responses.stream(model="rag", input="Koji je rok?") as stream:
        async for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
        final = await stream.get_final_response()
    assert text == final.output_text == "Rok je 15 dana. [1]"
    with pytest.raises(openai.BadRequestError, match="answers are not kept"):
        await client.responses.create(model="rag", input="a", previous_response_id="resp_1")


async def test_an_answer_that_was_cut_is_incomplete() -> None:
    answer = ResponseAnswer("q", ResponsesRequest.model_validate(asked(RAW)))
    answer.events_of(Chunk("q", "Rok"))
    *_, last = answer.events_of(Complete("q", Usage(5, 1), {}, "length", "vllm", "m"))
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
