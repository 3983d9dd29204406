from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.types import Usage
from serve_app.api.compatible.completions import Completion
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources


async def answer(metadata: dict[str, Any], document_id: str = "d", finish: str = "stop") -> AsyncGenerator[AnswerEvent]:
    yield Sources("q", (Source("p1", document_id, "T1", "x", 0.5, metadata), Source("p2", "d2", "T2", "y", 0.4, {})))
    yield Chunk("q", "Rok [1, 2].")
    yield Citation("q", ("p1", "p2"), 0, 3)
    yield Complete("q", Usage(5, 2, 4), {}, finish, "vllm", "m")


async def cited(metadata: dict[str, Any], document_id: str = "d") -> list[dict[str, Any]]:
    whole = await Completion("q", "rag").as_object(answer(metadata, document_id))
    return [each["url_citation"] for each in whole["choices"][0]["message"]["annotations"]]


@pytest.mark.parametrize(
    ("metadata", "document_id", "url"),
    [
        ({"url": "https://example.org/zakon?a=1#b"}, "d", "https://example.org/zakon?a=1#b"),
        ({"url": 7}, "d", "/v1/documents/d"),
        ({}, "a/b č?#%", "/v1/documents/a%2Fb%20%C4%8D%3F%23%25"),
    ],
)
async def test_a_citation_leads_to_the_document(metadata: dict[str, Any], document_id: str, url: str) -> None:
    first, second = await cited(metadata, document_id)
    assert first == {"start_index": 0, "end_index": 3, "title": "T1", "url": url}
    assert second == {"start_index": 0, "end_index": 3, "title": "T2", "url": "/v1/documents/d2"}


@pytest.mark.parametrize(
    ("finish", "told"), [("stop", "stop"), ("length", "length"), ("no_answer", "stop"), ("cancelled", "stop")]
)
async def test_why_an_answer_ended_is_told_in_openai_s_words(finish: str, told: str) -> None:
    whole = await Completion("q", "rag").as_object(answer({}, finish=finish))
    assert whole["choices"][0]["finish_reason"] == told
    assert whole["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


@pytest.mark.parametrize("read", [1, 2])
async def test_closing_the_chunks_closes_the_answer(read: int) -> None:
    source = answer({})
    stream = Completion("q", "rag").chunks(source)
    for _ in range(read):
        await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)
