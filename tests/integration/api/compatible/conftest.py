"""What answers are held against: this service's shapes and those of the official clients, both to the letter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import openai
import pytest
import uvicorn
from openai.types import Completion as TheirTextCompletion
from openai.types.chat import ChatCompletion as TheirCompletion
from openai.types.chat import ChatCompletionChunk as TheirChunk
from pydantic import BaseModel

from serve_app.api.app import create_app
from serve_app.api.compatible.openai import ChatChunk, ChatCompletion, OpenAIError
from serve_app.api.compatible.text_completion_schema import TextCompletion
from tests.integration.api.conftest import Api

EXTENSIONS = {"sources", "annotations", "grounding", "status"}
"""`annotations` are OpenAI's own of a whole message; in a stream's delta they are ours."""
SHAPES: dict[type[BaseModel], type[BaseModel]] = {
    ChatCompletion: TheirCompletion,
    ChatChunk: TheirChunk,
    TextCompletion: TheirTextCompletion,
}


def fits(ours: type[BaseModel], body: str, *, whole: bool = True) -> dict[str, Any]:
    """The answer as JSON, once both shapes have taken it as it is. Theirs of a completion has none for chunks."""
    ours.model_validate_json(body, strict=True)
    if ours in SHAPES and (whole or ours is not TextCompletion):
        assert extras(SHAPES[ours].model_validate_json(body, strict=True)) <= EXTENSIONS
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def extras(value: Any) -> set[str]:
    """Names that a client's model does not know, wherever they are."""
    if isinstance(value, list):
        return {name for each in value for name in extras(each)}
    if not isinstance(value, BaseModel):
        return set()
    known = {name for field in type(value).model_fields for name in extras(getattr(value, field))}
    return known | set(value.model_extra or ())


def chunks(body: str, *, done: bool = True, shape: type[BaseModel] = ChatChunk) -> list[dict[str, Any]]:
    """A stream's chunks, each of which fits; the last event is [DONE] if the answer was whole."""
    sent = [block.removeprefix("data: ") for block in body.split("\n\n") if block.startswith("data: ")]
    assert (sent[-1] == "[DONE]") is done
    return [fits(shape, each, whole=False) for each in sent if each != "[DONE]" and "error" not in json.loads(each)]


@pytest.fixture
def key(api: Api) -> str:
    found: str = api.client.headers["Authorization"].removeprefix("Bearer ")
    return found


@pytest.fixture
async def client(api: Api, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own, with an admin key of tenant t; it does not try again."""
    transport = httpx2.ASGITransport(create_app(api.services), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport) as http:
        yield openai.AsyncOpenAI(api_key=key, base_url="http://rag.test/v1", http_client=http, max_retries=0)


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    """The same API behind a socket, so that a stream is read while it is written."""
    server = Server(uvicorn.Config(create_app(api.services), port=0, lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


def openai_error(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = fits(OpenAIError, answer.text)["error"]
    return error
