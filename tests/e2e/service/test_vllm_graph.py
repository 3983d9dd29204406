"""The whole graph on real parts: MiniLM, milvus-lite, SQLite, and vLLM on a tiny model that is made here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from deployments.types import GenerationLoad, Passage
from serve_app.query.prompt import build_prompt
from tests.support.elixir import against, passed
from tests.support.recovery import is_retryable, until_answered, until_end
from tests.support.service import Running, engine_load, kill, service
from tests.support.vllm_reference import greedy_answers

DOCUMENTS = [
    {
        "id": f"zakon-{number}",
        "title": f"Zakon o rokovima {number}",
        "text": f"# Članak {number}\n\nŽalba se podnosi u roku od {number + 10} dana od dana dostave rješenja. "
        f"O žalbi odlučuje povjerenstvo broj {number}, a odluka se dostavlja podnositelju.",
        "metadata": {"year": 2000 + number},
    }
    for number in range(1, 7)
]
QUESTION = "U kojem roku se podnosi žalba?"
ANSWER_TOKENS = 48
LONG = 4_000
"""More tokens than 1,500 are still to come at whatever moment a client leaves."""
SETTLED_S = 2.0
ROUNDS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", context_tokens=16_384)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Running]:
    generation = {
        "engine": "vllm",
        "model": str(model),
        "context_tokens": 16_384,
        "max_num_seqs": 16,
        "engine_kwargs": {"enforce_eager": True},
    }
    with service(tmp_path_factory.mktemp("service"), {"generation": generation}) as started:
        assert {d["state"] for d in started.ingest(DOCUMENTS)} == {"indexed"}
        yield started


def test_what_serves_is_said(running: Running, model: Path) -> None:
    ready = running.wait_ready(10)
    assert ready["stages"]["generation"]["engine"] == "vllm"
    assert ready["stages"]["embedding"]["model"] == "all-MiniLM-L6-v2"


async def test_the_streamed_text_is_that_of_a_direct_greedy_run(running: Running, tmp_path: Path) -> None:
    async with running.stream(QUESTION, max_tokens=ANSWER_TOKENS) as stream:
        messages = [message async for message in stream]
    assert [m["type"] for m in messages if m["type"] not in ("chunk", "citation")] == ["sources", "complete"]
    sources, complete = messages[0]["sources"], messages[-1]
    streamed = "".join(m["content"] for m in messages if m["type"] == "chunk")
    assert (complete["engine"], complete["finish_reason"]) == ("vllm", "length")
    assert complete["usage"]["completion_tokens"] == ANSWER_TOKENS
    assert len([m for m in messages if m["type"] == "chunk"]) > 1

    async def uncounted(texts: Any) -> list[int]:
        raise AssertionError("this prompt fits by its bytes")

    shown = [
        Passage(s["id"], s["document_id"], "", "", "", "", "hr", 0, s["title"], s["text"], s["metadata"])
        for s in sources
    ]
    built = await build_prompt(QUESTION, "hr", shown, budget=16_384 - ANSWER_TOKENS, count_tokens=uncounted)
    [reference] = await asyncio.to_thread(
        greedy_answers, running.args.generation, [built.messages], max_tokens=ANSWER_TOKENS, log=tmp_path / "vllm.log"
    )
    assert streamed == reference["text"]
    assert complete["usage"]["prompt_tokens"] == reference["prompt_tokens"]


async def test_openai_s_client_asks_both_models(running: Running, model: Path) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    async with openai.AsyncOpenAI(
        api_key=running.key,
        base_url=f"{running.url}/v1",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        assert [each.id async for each in client.models.list()] == ["rag", str(model), "all-MiniLM-L6-v2"]
        assert (await client.models.retrieve(str(model))).id == str(model)
        for name in ("rag", str(model)):
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
        body = {"model": "all-MiniLM-L6-v2", "input": texts}
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
    await asyncio.sleep(SETTLED_S)
    assert await engine_load() == GenerationLoad(0, 0), "one came to the engine after it was idle"


@pytest.mark.timeout(600)
def test_the_elixir_client_on_vllm(running: Running, tmp_path: Path) -> None:
    assert passed(against(running, tmp_path, RAG_TEST_VLLM="1")) >= 16
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
    await asyncio.gather(*(asyncio.wait_for(each.wait(), 30) for each in opened))
    kill("generation")
    for last in await asyncio.wait_for(asyncio.gather(*streams), 20):
        assert is_retryable(last), last
    # Three processes import vLLM one after the other, and how fast is the machine's: the recovery benchmark holds the
    # figure, here it has to come back at all.
    await until_answered(running, QUESTION, within_s=120)


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
            async with asyncio.timeout(30):
                while b"event: chunk" not in answer and (more := await reader.read(65_536)):
                    answer += more
        except TimeoutError:
            pass
        assert b"event: chunk" in answer, answer.decode()
        load = await engine_load()
        assert load.running + load.waiting >= 1
