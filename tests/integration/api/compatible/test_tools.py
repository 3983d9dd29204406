"""Functions that raw models call: on the wire of both of OpenAI's APIs, and as its own client reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from deployments.types import Message, Tool, ToolCall, ToolCallDelta
from serve_app.api.compatible.openai import ChatCompletion
from tests.integration.api.compatible.conftest import chunks, fits, openai_error
from tests.integration.api.compatible.test_chat import CHAT, RAW, asked
from tests.integration.api.compatible.test_responses import RESPONSES, events, whole
from tests.integration.api.conftest import Api

SCHEMA = {"type": "object", "properties": {"mjesec": {"type": "string"}}, "required": ["mjesec"]}
FLAT: dict[str, Any] = {"type": "function", "name": "zapamti", "description": "Remember a month.", "parameters": SCHEMA}
OTHER = {"type": "function", "name": "zaboravi"}
NAMED = {"type": "function", "name": "zapamti"}
CALLED = (
    ToolCallDelta(0, "call_a", "zapamti", '{"mjesec": '),
    ToolCallDelta(0, "", "", '"siječanj"}'),
    ToolCallDelta(1, "call_b", "zaboravi", "{}"),
)
ARGUMENTS = '{"mjesec": "siječanj"}'


def nested(function: dict[str, Any]) -> dict[str, Any]:
    """A function, or the choice of one, as chats have it."""
    return {"type": "function", "function": {name: value for name, value in function.items() if name != "type"}}


TOOLS = [nested(FLAT), nested(OTHER)]


@pytest.fixture(autouse=True)
def calling(api: Api) -> None:
    api.stages.answer, api.stages.tool_calls = (), CALLED


async def test_a_raw_model_gets_the_functions_and_its_calls_are_told(api: Api) -> None:
    answer = await api.client.post(CHAT, json=asked(RAW, tools=TOOLS, tool_choice="required"))
    [choice] = fits(ChatCompletion, answer.text)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert choice["message"]["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "zapamti", "arguments": ARGUMENTS}},
        {"id": "call_b", "type": "function", "function": {"name": "zaboravi", "arguments": "{}"}},
    ]
    given = api.stages.requests[0].tools
    assert given is not None
    assert (given.choice, given.max_calls) == ("required", 16)
    assert given.functions[0] == Tool("zapamti", "Remember a month.", json.dumps(SCHEMA))
    assert json.loads(given.functions[1].parameters) == {"type": "object", "properties": {}}


async def test_calls_are_streamed(api: Api) -> None:
    api.stages.answer = ("Dobro. ",)
    sent = chunks((await api.client.post(CHAT, json=asked(RAW, tools=TOOLS, stream=True))).text)
    assert [chunk["choices"][0]["delta"] for chunk in sent] == [
        {"role": "assistant", "content": ""},
        {"content": "Dobro. "},
        {"tool_calls": [
            {"index": 0, "id": "call_a", "type": "function",
             "function": {"name": "zapamti", "arguments": '{"mjesec": '}},
        ]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"siječanj"}'}}]},
        {"tool_calls": [
            {"index": 1, "id": "call_b", "type": "function", "function": {"name": "zaboravi", "arguments": "{}"}},
        ]},
        {},
    ]  # fmt: skip
    assert [chunk["choices"][0]["finish_reason"] for chunk in sent] == [None] * 5 + ["tool_calls"]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ({}, ("auto", 2, 16)),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ("auto", 2, 1)),
        ({"tool_choice": NAMED}, ("named", 1, 16)),
        ({"tool_choice": "none"}, None),
        ({"tools": []}, None),
    ],
)
async def test_which_functions_the_model_may_call(
    api: Api, path: str, fields: dict[str, Any], given: tuple[Any, ...] | None
) -> None:
    fields = {"tools": [FLAT, OTHER], **fields}
    body: dict[str, Any] = {"model": RAW, "input": "Koji je rok?", **fields}
    if path == CHAT:
        body = asked(RAW, **fields) | {"tools": [nested(tool) for tool in fields["tools"]]}
        if isinstance(fields.get("tool_choice"), dict):
            body["tool_choice"] = nested(fields["tool_choice"])
    assert (await api.client.post(path, json=body)).status_code == 200
    tools = api.stages.requests[0].tools
    assert (tools and (tools.choice, len(tools.functions), tools.max_calls)) == given


async def test_calls_and_their_results_are_turns(api: Api) -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "zapamti", "arguments": ARGUMENTS}}
    turns = [
        {"role": "user", "content": "Zapamti siječanj."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a", "content": "zapamćeno"},
    ]
    as_items = [
        turns[0],
        {"type": "function_call", "id": "fc_1", "call_id": "call_a", "name": "zapamti", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "call_a", "output": "zapamćeno"},
    ]
    for path, body in ((CHAT, {"messages": turns}), (RESPONSES, {"input": as_items})):
        answer = await api.client.post(path, json={"model": RAW, **body})
        assert answer.status_code == 200, answer.text
    for request in api.stages.requests:
        assert request.messages == (
            Message("user", "Zapamti siječanj."),
            Message("assistant", "", (ToolCall("call_a", "zapamti", ARGUMENTS),)),
            Message("tool", "zapamćeno", (), "call_a"),
        )


async def test_calls_of_a_response_and_of_its_stream(api: Api) -> None:
    for text in ((), ("Dobro. ",)):
        api.stages.answer = text
        body = {"model": RAW, "input": "Koji je rok?", "tools": [FLAT, OTHER], "tool_choice": NAMED}
        response = whole(await api.client.post(RESPONSES, json=body))
        assert (response["tool_choice"], [tool["name"] for tool in response["tools"]]) == (
            NAMED,
            ["zapamti", "zaboravi"],
        )
        *message, first, second = response["output"]
        assert [item["type"] for item in message] == ["message"] * len(text)
        assert (first["call_id"], first["name"], first["arguments"]) == ("call_a", "zapamti", ARGUMENTS)
        assert (second["call_id"], second["arguments"], second["status"]) == ("call_b", "{}", "completed")
        sent = events((await api.client.post(RESPONSES, json=body | {"stream": True})).text)
        assert sent[-1]["response"]["output"][-2]["arguments"] == ARGUMENTS
        of_first = [event for event in sent if event.get("output_index") == len(text)]
        assert [event["type"].removeprefix("response.") for event in of_first] == [
            "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
            "function_call_arguments.done", "output_item.done",
        ]  # fmt: skip
        assert of_first[0]["item"]["arguments"] == ""
        assert "".join(event.get("delta", "") for event in of_first) == of_first[-2]["arguments"] == ARGUMENTS


async def test_openai_s_client_reads_them(client: openai.AsyncOpenAI) -> None:
    question: list[Any] = [{"role": "user", "content": "Koji je rok?"}]
    tools: list[Any] = TOOLS
    async with client.chat.completions.stream(model=RAW, messages=question, tools=tools) as chat:
        completion = await chat.get_final_completion()
    message = completion.choices[0].message
    assert message.tool_calls is not None
    assert [call.function.arguments for call in message.tool_calls] == [ARGUMENTS, "{}"]
    flat: list[Any] = [FLAT, OTHER]
    async with client.responses.stream(model=RAW, input="Koji je rok?", tools=flat) as stream:
        response = await stream.get_final_response()
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, call.arguments) for call in calls] == [("zapamti", ARGUMENTS), ("zaboravi", "{}")]


def with_schema(schema: Any) -> dict[str, Any]:
    return {"tools": [nested(FLAT | {"parameters": schema})]}


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools", "only functions"),
        ({"tools": [nested({"name": "a b"})]}, "tools.0.function.name", ""),
        ({"tools": [nested({"name": f"f{n}"}) for n in range(129)]}, "tools", "at most 128"),
        ({"tools": [nested(OTHER), nested(OTHER)]}, "tools", "same name"),
        (with_schema({"type": "string"}), "tools", "of an object"),
        (with_schema({"enum": ["a" * 33_000]}), "tools", "at most 32768 are allowed"),
        (with_schema({"pattern": "(a+)+$"}), "tools", "pattern is not supported"),
        (with_schema({"maxItems": 1_001}), "tools", "add up to over 1000"),
        (with_schema({"$defs": 5}), "tools", "$defs in the parameters of zapamti must be an object"),
        (with_schema({"$defs": None}), "tools", "$defs in the parameters of zapamti must be an object"),
        (with_schema({"definitions": []}), "tools", "definitions in the parameters of zapamti must be"),
        (with_schema({"properties": 5}), "tools", "properties in the parameters of zapamti must be"),
        (with_schema({"properties": {"a": {"type": "string", "format": []}}}), "tools", "format must be a text"),
        (with_schema({"title": "\ud800"}), "tools", "tools: must be valid UTF-8: it contains a lone surrogate"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tool_choice": "any", "tools": TOOLS}, "tool_choice", "must be none, auto, required"),
        ({"tool_choice": nested({"name": "x"}), "tools": TOOLS}, "tool_choice", "none of the functions"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "tools", "leave out one of the two"),
        ({"tools": TOOLS, "ignore_eos": True}, "ignore_eos", "with tools"),
    ],
)
async def test_tools_that_cannot_be_called(api: Api, fields: dict[str, Any], field: str, says: str) -> None:
    error = openai_error(answer := await post(api, asked(RAW, **fields)))
    assert (answer.status_code, error["param"]) == (400, field), error
    assert says in error["message"]
    assert api.stages.asked == []


async def post(api: Api, body: dict[str, Any]) -> httpx.Response:
    """Half of a surrogate pair is sent as its escape."""
    return await api.client.post(CHAT, content=json.dumps(body), headers={"Content-Type": "application/json"})


async def test_names_of_parameters_are_no_keywords(api: Api) -> None:
    schema = {"type": "object", "properties": dict.fromkeys(("$defs", "properties", "format", "type"), True)}
    assert (await api.client.post(CHAT, json=asked(RAW, **with_schema(schema)))).status_code == 200


def called(arguments: str) -> dict[str, Any]:
    """The turn of a call that was made before."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


IN_ARGUMENTS = "messages.1.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    ("message", "field", "says"),
    [
        ({"role": "tool", "content": "a"}, "messages.1", "tool_call_id goes with role tool"),
        ({"role": "user", "content": "a", "tool_call_id": "1"}, "messages.1", "tool_call_id goes with role tool"),
        ({**called("{}"), "role": "user", "content": "a"}, "messages.1", "tool_calls go with role assistant"),
        (called('{"mjesec": "sij'), IN_ARGUMENTS, "leave out a call that was cut"),
        (called("[]"), IN_ARGUMENTS, "text of a JSON object"),
        (called('{"a":' * 33 + "1" + "}" * 33), IN_ARGUMENTS, "nested more than 32 deep"),
        (called('{"x": "\\ud800"}'), IN_ARGUMENTS, "a lone surrogate"),
        (called('{"\\udfff": 1}'), IN_ARGUMENTS, "a lone surrogate"),
        (called('{"x": "\ud800"}'), IN_ARGUMENTS, "a lone surrogate"),
    ],
)
async def test_turns_that_are_no_calls(api: Api, message: dict[str, Any], field: str, says: str) -> None:
    body = asked(RAW)
    error = openai_error(answer := await post(api, body | {"messages": [*body["messages"], message]}))
    assert (answer.status_code, error["param"]) == (400, field), error
    assert says in error["message"]


@pytest.mark.parametrize(("sent", "read"), [("", "{}"), (" \n", "{}"), ('{"x": "\\ud83e\\udd89"}', None)])
async def test_arguments_of_a_call_that_was_made_before(api: Api, sent: str, read: str | None) -> None:
    body = asked(RAW)
    answer = await api.client.post(CHAT, json=body | {"messages": [*body["messages"], called(sent)]})
    assert answer.status_code == 200, answer.text
    [call] = api.stages.requests[0].messages[-1].tool_calls
    assert call.arguments == (sent if read is None else read)


async def test_a_call_that_was_named_ends_as_with_openai(api: Api) -> None:
    body = asked(RAW, tools=TOOLS, tool_choice=nested({"name": "zapamti"}))
    [choice] = fits(ChatCompletion, (await api.client.post(CHAT, json=body)).text)["choices"]
    assert (len(choice["message"]["tool_calls"]), choice["finish_reason"]) == (2, "stop")
    *_, last = chunks((await api.client.post(CHAT, json=body | {"stream": True})).text)
    assert last["choices"][0]["finish_reason"] == "stop"


async def test_an_engine_may_leave_indices_out(api: Api) -> None:
    """Calls have the places in which they begin, in all forms of an answer."""
    first, rest, second = CALLED
    api.stages.tool_calls = (replace(first, index=1), replace(rest, index=1), replace(second, index=4))
    body = asked(RAW, tools=TOOLS)
    [choice] = fits(ChatCompletion, (await api.client.post(CHAT, json=body)).text)["choices"]
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == [ARGUMENTS, "{}"]
    sent = chunks((await api.client.post(CHAT, json=body | {"stream": True})).text)
    parts = [part for chunk in sent for part in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [part["index"] for part in parts] == [0, 0, 1]
    asked_for = {"model": RAW, "input": "Koji je rok?", "tools": [FLAT, OTHER]}
    response = whole(await api.client.post(RESPONSES, json=asked_for))
    assert [item["arguments"] for item in response["output"]] == [ARGUMENTS, "{}"]
    of_stream = events((await api.client.post(RESPONSES, json=asked_for | {"stream": True})).text)
    deltas = [event for event in of_stream if event["type"] == "response.function_call_arguments.delta"]
    assert [event["output_index"] for event in deltas] == [0, 0, 1]


async def test_rag_calls_nothing(api: Api) -> None:
    for fields, field in (
        ({"tools": TOOLS}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}, *asked()["messages"]]}, "messages"),
    ):
        error = openai_error(answer := await api.client.post(CHAT, json=asked() | fields))
        assert (answer.status_code, error["param"]) == (400, field), error
        assert "raw models" in error["message"]
    assert api.stages.asked == []
