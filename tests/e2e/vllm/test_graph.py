"""The whole graph on real parts: bundled models, the embedded index, SQLite, and vLLM on a tiny model made here."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from cluster.node import FOLDER_PREFIX
from deployments.types import GenerationLoad
from tests.support.elixir import against, passed
from tests.support.on_vllm import QUESTION, QUESTION_TOKENS, Vllm, vllm
from tests.support.recovery import is_retryable, until_answered, until_end
from tests.support.service import Running, engine_load, kill

SERVICE = vllm
pytestmark = pytest.mark.timeout(900)
LONG = 4_000
"""Tokens of an answer that goes on for longer than SETTLED_S."""
SETTLED_S, PATIENCE_S = 4.0, 600
ROUNDS = 3


@pytest.fixture
def running(shared: Vllm) -> Running:
    return shared.running


@pytest.fixture
def model(running: Running) -> str:
    return running.args.generation.model


def test_what_serves_is_said(running: Running, model: str) -> None:
    ready = running.wait_ready(10)
    assert ready["stages"]["generation"]["engine"] == "vllm"
    assert ready["stages"]["embedding"]["model"] == "multilingual-e5-small"


def test_vllm_s_sockets_are_in_the_folder_that_is_removed_with_the_node(running: Running) -> None:
    folder = Path(os.environ["VLLM_RPC_BASE_PATH"])
    assert folder.name.startswith(FOLDER_PREFIX)
    assert [path for path in folder.iterdir() if path.is_socket()]


def test_the_streamed_text_is_that_of_a_direct_greedy_run(shared: Vllm) -> None:
    messages, direct = shared.reference.streamed, shared.reference.direct
    assert [m["type"] for m in messages if m["type"] not in ("chunk", "citation")] == ["sources", "complete"]
    complete = messages[-1]
    streamed = "".join(m["content"] for m in messages if m["type"] == "chunk")
    assert (complete["engine"], complete["finish_reason"]) == ("vllm", "length")
    assert complete["usage"]["completion_tokens"] == QUESTION_TOKENS
    assert len([m for m in messages if m["type"] == "chunk"]) > 1
    assert streamed == direct["text"].replace("\0", "")  # which no answer holds
    assert complete["usage"]["prompt_tokens"] == direct["prompt_tokens"]


async def test_openai_s_client_asks_both_models(running: Running, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    async with openai.AsyncOpenAI(
        api_key=running.key,
        base_url=f"{running.url}/v1",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        assert [each.id async for each in client.models.list()] == [
            "rag",
            model,
            "multilingual-e5-small",
            "all-MiniLM-L6-v2",
        ]
        assert (await client.models.retrieve(model)).id == model
        for name in ("rag", model):
            asked: dict[str, Any] = {"model": name, "messages": messages, "temperature": 1, "max_tokens": 24}
            first, again, other = [
                (await client.chat.completions.create(**asked, seed=seed)).choices[0] for seed in (7, 7, 8)
            ]
            text = first.message.content
            assert text == again.message.content != other.message.content
            assert first.finish_reason == "length"
            stop = text[len(text) // 2 :][:3]
            stopped = await client.chat.completions.create(**asked, seed=7, stop=[stop, "not there"])
            assert stopped.choices[0].finish_reason == "stop"
            assert stopped.choices[0].message.content == text.partition(stop)[0]
            assert stopped.usage.completion_tokens < 24
            streamed = await client.chat.completions.create(
                **asked, seed=7, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in streamed]
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
            assert (said, chunks[-1].usage.completion_tokens) == (text, 24)
            assert bool(chunks[0].choices[0].delta.model_extra) is (name == "rag")
            await client.chat.completions.create(**asked, top_p=0, presence_penalty=1, frequency_penalty=-1)


async def test_the_embedder_and_the_reranker_answer_by_themselves(running: Running) -> None:
    texts = [QUESTION, "Complaints are decided by a board.", "The deadline for a complaint is 15 days."]
    with running.client() as client:
        body = {"model": "multilingual-e5-small", "input": texts}
        embedded = client.post("/v1/embeddings", json=body).raise_for_status().json()
        assert [len(each["embedding"]) for each in embedded["data"]] == [384] * 3
        assert embedded["usage"]["prompt_tokens"] > 20
        asked = {"query": "What is the deadline?", "documents": texts, "top_n": 1}
        ranked = client.post("/v1/rerank", json=asked).raise_for_status().json()["results"]
        assert [each["index"] for each in ranked] == [2]
        assert 0 < ranked[0]["relevance_score"] <= 1


async def test_a_client_that_stays_keeps_the_engine_busy_longer_than_the_limit(running: Running) -> None:
    """What the tests below would see if nothing was aborted."""
    async with running.stream(QUESTION, max_tokens=LONG) as stream:
        await anext(stream)
        await anext(stream)
        await asyncio.sleep(SETTLED_S)
        load = await engine_load()
        assert load.running + load.waiting == 1


async def test_clients_that_hang_up_leave_nothing_in_the_engine(running: Running) -> None:
    for _ in range(ROUNDS):
        await asyncio.gather(
            *(hang_up_after(running, delay) for delay in (0, 0.02, 0.1, 0.4)), hang_up_in_mid_stream(running)
        )
        await until_idle()
    await asyncio.sleep(SETTLED_S)  # only a pause shows that none comes; a slow machine shows less
    assert await engine_load() == GenerationLoad(0, 0), "one came to the engine after it was idle"


def test_the_elixir_client_on_vllm(running: Running, elixir_folder: Path) -> None:
    assert passed(against(running, elixir_folder, RAG_TEST_VLLM="1")) >= 16
    # Among them were answers of 4,000 tokens whose readers went away.
    asyncio.run(until_idle())


async def test_a_query_is_cancelled_by_its_id(running: Running) -> None:
    async with running.stream(QUESTION, max_tokens=LONG) as stream:
        query_id = (await anext(stream))["query_id"]
        await anext(stream)
        with running.client() as client:
            assert client.delete(f"/v1/query/{query_id}").status_code == 202
        last = [message async for message in stream][-1]
        assert (last["type"], last["finish_reason"]) == ("complete", "cancelled")
    await until_idle()


async def test_killing_vllm_ends_its_streams_with_a_retryable_error_and_it_answers_again(running: Running) -> None:
    opened = [asyncio.Event() for _ in range(3)]
    streams = [asyncio.create_task(until_end(running, QUESTION, each, max_tokens=LONG)) for each in opened]
    await asyncio.gather(*(asyncio.wait_for(each.wait(), PATIENCE_S) for each in opened))
    kill("generation")
    for last in await asyncio.wait_for(asyncio.gather(*streams), PATIENCE_S):
        assert is_retryable(last), last
    # Three processes import vLLM one after the other, which takes as long as the machine needs. The recovery benchmark
    # has the figure; here it only has to come back.
    await until_answered(running, QUESTION)


async def until_idle() -> None:
    began = time.monotonic()
    while await engine_load() != GenerationLoad(0, 0):
        assert time.monotonic() - began < SETTLED_S


def request_bytes(running: Running) -> bytes:
    body = json.dumps({"query": QUESTION, "max_tokens": LONG}).encode()
    return (
        b"POST /v1/query HTTP/1.1\r\nHost: rag\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {running.key}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


@asynccontextmanager
async def asked(running: Running) -> AsyncIterator[asyncio.StreamReader]:
    """A question's connection, closed at the end of the block."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request_bytes(running))
        await writer.drain()
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def hang_up_after(running: Running, delay_s: float) -> None:
    async with asked(running):
        await asyncio.sleep(delay_s)


async def hang_up_in_mid_stream(running: Running) -> None:
    async with asked(running) as reader:
        answer = b""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while b"event: chunk" not in answer and (more := await reader.read(65_536)):
                    answer += more
        except TimeoutError:
            pass
        assert b"event: chunk" in answer, answer.decode()
        load = await engine_load()
        assert load.running + load.waiting >= 1
