"""Over every route that asks a model, no text of a caller or a document is a control token of the prompt."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Api
from tests.integration.api.test_access import change
from tests.support.chat_models import FAMILIES, HOSTILE_TEXTS, chat_model


async def query(api: Api, text: str) -> httpx.Response:
    return await api.client.post("/v1/query", json={"query": text, "stream": False})


async def following(api: Api, text: str) -> httpx.Response:
    history = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return await api.client.post("/v1/query", json={"query": text, "history": history, "stream": False})


async def response(api: Api, text: str) -> httpx.Response:
    turns = [{"role": role, "content": text} for role in ("user", "assistant", "user")]
    return await api.client.post("/v1/responses", json={"model": "rag", "instructions": text, "input": turns})


async def command(api: Api, text: str) -> httpx.Response:
    return await api.client.post("/v1/commands", json={"id": "c", "command": "query", "params": {"query": text}})


async def rpc(api: Api, text: str) -> httpx.Response:
    call = {"jsonrpc": "2.0", "id": 1, "method": "query", "params": {"query": text, "stream": False}}
    return await api.client.post("/v1/rpc", json=call)


def chat(model: str) -> Callable[[Api, str], Awaitable[httpx.Response]]:
    async def send(api: Api, text: str) -> httpx.Response:
        messages: list[Mapping[str, Any]] = [
            {"role": "system", "content": text},
            {"role": "developer", "content": [{"type": "text", "text": text}, {"type": "text", "text": text}]},
            {"role": "user", "content": text},
            {"role": "assistant", "content": text},
            {"role": "user", "content": text},
        ]
        # Templates take one message of the system, as their models do.
        messages = messages if model == "rag" else [messages[0], *messages[2:]]
        return await api.client.post("/v1/chat/completions", json={"model": model, "messages": messages})

    return send


ROUTES = {
    "query": query,
    "query with history": following,
    "response": response,
    "command": command,
    "rpc": rpc,
    "chat with rag": chat("rag"),
    "chat with a model": chat("none"),
}


def shape(value: Any) -> Any:
    """An answer's structure: its keys, the lengths of its lists, and kinds of values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value).__name__


async def asked(api: Api, route: str, question: str, other: Sequence[str]) -> tuple[dict[str, list[str]], Any]:
    """The control tokens of each model's prompt, and the answer's structure. `other`: preamble, passage and title."""
    preamble, text, title = other
    await change(api, prompt_preamble=preamble)
    api.stages.texts, api.stages.titles = [text] * 5, [title] * 5
    answer = await ROUTES[route](api, question)
    assert answer.status_code == 200, answer.text
    messages = api.stages.requests[-1].messages
    assert question in messages[-1].content
    assert preamble.strip() in messages[0].content or route == "chat with a model"
    models = {family: chat_model(family) for family in FAMILIES}
    tokens = {family: model.control_tokens(model.prompt(messages)) for family, model in models.items()}
    return tokens, [shape(json.loads(line)) for line in answer.text.splitlines()]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_prompt_has_the_control_tokens_of_its_template_alone(api: Api, route: str) -> None:
    expected = await asked(api, route, "Koji je rok?", ("Savjetuješ.", "Rok je 15 dana.", "Zakon o rokovima"))
    assert all(len(tokens) >= 2 for tokens in expected[0].values())
    for hostile in HOSTILE_TEXTS:
        assert await asked(api, route, hostile.strip(), (hostile, hostile, hostile)) == expected, hostile
