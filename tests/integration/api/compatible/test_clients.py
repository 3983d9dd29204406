"""What the official clients make of it: their own calls, their own errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cohere
import httpx
import numpy as np
import openai
import pytest
from cohere.core.api_error import ApiError
from cohere.errors import BadRequestError, NotFoundError, ServiceUnavailableError, UnauthorizedError
from openai.types.chat import ChatCompletionMessageParam

from deployments.errors import StageUnavailable
from serve_app.api.app import create_app
from tests.integration.api.conftest import Api
from tests.support.waiting import until

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Koji je rok?"}]


async def test_openai_chats(client: openai.AsyncOpenAI) -> None:
    for model in ("rag", "none"):
        completion = await client.chat.completions.create(model=model, messages=QUESTION)
        message = completion.choices[0].message
        assert message.content == "Rok je 15 dana. [1]"
        assert completion.usage is not None
        assert completion.usage.total_tokens == 12
        if model == "rag":
            assert message.annotations is not None
            cited = message.annotations[0].url_citation
            assert message.content[cited.start_index : cited.end_index] == "Rok je 15 dana."
            assert message.model_extra is not None
            assert len(message.model_extra["sources"]) == 5


async def test_openai_sends_an_answer_back_as_it_came(api: Api, client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="rag", messages=QUESTION)
    conversation: list[Any] = [*QUESTION, completion.choices[0].message, *QUESTION]
    again = await client.chat.completions.create(
        model="rag", messages=conversation, extra_body={"top_k": 1, "language": "en"}, user="u1", stop=["x"], seed=1
    )
    assert again.choices[0].finish_reason == "stop"
    assert [message.role for message in api.stages.requests[-1].messages] == ["system", "user", "assistant", "user"]
    assert len(api.stages.requests[-1].passages) == 1


async def test_openai_may_send_back_whatever_a_model_said(api: Api, client: openai.AsyncOpenAI) -> None:
    api.stages.answer = ("Rok\0 je ", "\0", "15 dana. [1]")
    for model in ("rag", "none"):
        said = (await client.chat.completions.create(model=model, messages=QUESTION)).choices[0].message
        async with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
            streamed = (await stream.get_final_completion()).choices[0].message
        assert said.content == streamed.content == "Rok je 15 dana. [1]"
        conversation: list[Any] = [*QUESTION, said, *QUESTION]
        assert (await client.chat.completions.create(model=model, messages=conversation)).choices[0].message.content
        response = await client.responses.create(model=model, input="Koji je rok?")
        again: list[Any] = [*response.output, {"role": "user", "content": "A zatim?"}]
        assert (await client.responses.create(model=model, input=again)).output_text == said.content


def official(url: str, key: str) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, http_client=http)


async def test_openai_streams_while_it_is_generated(api: Api, url: str, key: str) -> None:
    token = api.stages.gates["token"] = asyncio.Semaphore(0)
    async with official(url, key) as client:
        stream = await client.chat.completions.create(
            model="rag", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        texts, usage = list[str](), None
        async for chunk in stream:
            token.release()  # the sources come before the first token is there, each token before the next one
            if chunk.choices:
                texts.append(chunk.choices[0].delta.content or "")
            usage = chunk.usage or usage
        assert "".join(texts) == "Rok je 15 dana. [1]"
        assert usage is not None
        assert usage.completion_tokens == 2


async def test_openai_closes_a_stream_and_the_query_is_aborted(api: Api, url: str, key: str) -> None:
    api.stages.delays["token"] = 3600
    async with official(url, key) as client:
        stream = await client.chat.completions.create(model="rag", messages=QUESTION, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await until(lambda: bool(api.stages.aborted))


async def test_openai_helps_itself_to_whole_answers_from_a_stream(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="rag", messages=QUESTION) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "Rok je 15 dana. [1]"


async def test_openai_embeds(api: Api, client: openai.AsyncOpenAI) -> None:
    texts = ["a", "bb"]
    packed = await client.embeddings.create(model="org/embedder", input=texts)
    plain = await client.embeddings.create(model="org/embedder", input=texts, encoding_format="float")
    assert np.array_equal([each.embedding for each in packed.data], [each.embedding for each in plain.data])
    assert len((await client.embeddings.create(model="org/embedder", input="a", dimensions=3)).data[0].embedding) == 3
    await client.embeddings.create(model="org/embedder", input="a", extra_body={"input_type": "query"})
    assert [kind for _, kind in api.stages.embedded] == ["passage", "passage", "passage", "query"]


async def test_openai_lists_models(client: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in client.models.list()]
    assert models == ["rag", "none", "org/embedder", "org/reranker"]
    for model in models:
        assert (await client.models.retrieve(model)).id == model


async def test_openai_s_errors(api: Api, client: openai.AsyncOpenAI) -> None:
    async def chat(**fields: Any) -> Any:
        return await client.chat.completions.create(**{"model": "rag", "messages": QUESTION} | fields)

    with pytest.raises(openai.BadRequestError) as bad:
        await chat(temperature=3)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    assert bad.value.request_id
    for call in (chat(model="gpt-4o"), client.models.retrieve("gpt-4o")):
        with pytest.raises(openai.NotFoundError) as missing:
            await call
        assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as unknown:
        await client.with_options(api_key="rag_wrong_key").models.list()
    assert unknown.value.code == "invalid_api_key"
    api.stages.failures["ending"] = StageUnavailable("generation is gone; try again")
    with pytest.raises(openai.InternalServerError) as gone:
        await chat()
    assert (gone.value.status_code, gone.value.code) == (503, "stage_unavailable")
    text = ""

    async def read() -> None:
        nonlocal text
        async for chunk in await chat(stream=True):
            text += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIError, match="generation is gone") as broken:
        await read()
    assert (text, broken.value.code) == ("Rok je 15 dana. [1]", "stage_unavailable")


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(api.services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as made:
        yield made


DOCUMENTS = ["a" * 20, "a" * 90, "a" * 50]


async def test_cohere_reranks(http: httpx.AsyncClient, key: str) -> None:
    second = cohere.AsyncClientV2(key, base_url="http://rag.test", httpx_client=http)
    ranked = await second.rerank(model="org/reranker", query="rok", documents=DOCUMENTS, top_n=2)
    assert [(each.index, each.relevance_score) for each in ranked.results] == [(1, 0.9), (2, 0.5)]
    assert ranked.meta is not None
    assert ranked.meta.api_version is not None
    assert ranked.meta.billed_units is not None
    assert (ranked.meta.api_version.version, ranked.meta.billed_units.search_units) == ("2", 1)
    first = cohere.AsyncClient(key, base_url="http://rag.test", httpx_client=http)
    shown = await first.rerank(query="rok", documents=[DOCUMENTS[0], {"text": DOCUMENTS[1]}], return_documents=True)
    assert shown.results[0].document is not None
    assert (shown.results[0].index, shown.results[0].document.text) == (1, DOCUMENTS[1])


async def test_cohere_s_errors(api: Api, http: httpx.AsyncClient, key: str) -> None:
    for made in (cohere.AsyncClientV2, cohere.AsyncClient):
        client: Any = made(key, base_url="http://rag.test", httpx_client=http)
        asked: dict[str, Any] = {
            "model": "org/reranker", "query": "q", "documents": ["a"], "request_options": {"max_retries": 0},
        }  # fmt: skip
        stranger: Any = made("rag_wrong_key", base_url="http://rag.test", httpx_client=http)
        api.stages.failures.clear()
        for error, call in (
            (UnauthorizedError, stranger.rerank(**asked)),
            (BadRequestError, client.rerank(**asked | {"top_n": 0})),
            (NotFoundError, client.rerank(**asked | {"model": "rerank-v3.5"})),
        ):
            with pytest.raises(error) as refused:
                await call
            assert isinstance(refused.value, ApiError)
            assert set(refused.value.body) == {"id", "message"}
        api.stages.failures["reranking"] = StageUnavailable("reranking is gone; try again")
        with pytest.raises(ServiceUnavailableError) as gone:
            await client.rerank(**asked)
        assert gone.value.body["message"] == "reranking is gone; try again"
