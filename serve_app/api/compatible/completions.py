"""The events of an answer → OpenAI's chat completion, whole or in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from fastapi.responses import JSONResponse
from starlette.responses import Response

from deployments.types import Usage
from serve_app.api.compatible.called import CallsSoFar, call_part, calls_of
from serve_app.api.compatible.openai import OPENAI_ERRORS
from serve_app.api.errors import STATUS
from serve_app.api.streaming import EventStream, data, public_error, stream
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, RawChunk, Source, Sources
from serve_app.schemas.queries import event_as_json
from serve_app.services.queries import Ending

DONE = b"data: [DONE]\n\n"
FAILED_EXAMPLE = {
    "error": {
        "message": "generation lost its replica; try again",
        "type": "server_error",
        "param": None,
        "code": "stage_unavailable",
    }
}


class AnswerForm(Protocol):
    """An answer as one of OpenAI's APIs has it: as one object, or in chunks."""

    query_id: str

    async def as_object(self, answer: AsyncGenerator[AnswerEvent]) -> dict[str, Any]: ...

    def chunks(self, answer: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[bytes]: ...

    def last_chunk(self, error: Exception, position: int = 0, /) -> bytes:
        """What ends a stream that failed, in place of a chunk."""


async def send(
    form: AnswerForm, answer: AsyncGenerator[AnswerEvent], ending: Ending, *, in_chunks: bool, heartbeat_s: float
) -> Response:
    """The response with the answer: one object, or a stream."""
    headers = {"X-Query-ID": form.query_id, "Cache-Control": "no-store"}
    if not in_chunks:
        return JSONResponse(await form.as_object(answer), headers=headers)
    sent = stream(form.chunks(answer), form.last_chunk, heartbeat_s=heartbeat_s)
    return EventStream(sent, ending=ending, media_type="text/event-stream", headers=headers)


@dataclass(slots=True)
class Completion:
    """What all objects of one answer share."""

    query_id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    with_usage: bool = False
    """Whether a stream ends on a chunk with the usage."""
    call_is_named: bool = False
    """Whether the caller named the function that is called. Such an answer ends by `stop` in OpenAI's API, see
    https://github.com/vllm-project/vllm/pull/25054."""
    _sources: dict[str, Source] = field(default_factory=dict)

    async def as_object(self, answer: AsyncGenerator[AnswerEvent]) -> dict[str, Any]:
        text: list[str] = []
        calls = CallsSoFar()
        message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None, "annotations": []}
        finish_reason, usage = "stop", Usage()
        async with aclosing(answer) as events:
            async for event in events:
                match event:
                    case Sources():
                        message["sources"] = self._source_objects(event)
                    case Chunk():
                        text.append(event.content)
                        calls.add(calls_of(event))
                    case Citation():
                        message["annotations"] += self._annotations(event)
                    case Complete():
                        finish_reason, usage = finish_reason_of(event), event.usage
                        message |= grounding_of(event)
        message["content"] = "".join(text)
        if calls:
            message |= {"content": message["content"] or None, "tool_calls": calls.as_json()}
            finish_reason = self._finish_reason_with_calls(finish_reason)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return self._object("chat.completion", [choice]) | {"usage": usage_as_json(usage)}

    async def chunks(self, answer: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[bytes]:
        """Server-sent events. By `[DONE]`, the last one, clients tell a whole answer from one that broke off."""
        role: dict[str, Any] = {"role": "assistant", "content": ""}
        calls = CallsSoFar()
        null_usage: dict[str, Any] = {"usage": None} if self.with_usage else {}
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Citation) and not event.sources:
                    continue  # an annotation leads to a source
                delta, finish_reason = self._delta(event, calls)
                if finish_reason is not None and calls:
                    finish_reason = self._finish_reason_with_calls(finish_reason)
                if role:
                    opening, role = role, {}
                    if isinstance(event, Sources):
                        delta = opening | delta
                    else:
                        yield data(self.chunk(opening) | null_usage)
                counted = event.usage if isinstance(event, RawChunk) else None
                so_far = null_usage if counted is None else {"usage": usage_as_json(counted)}
                yield data(self.chunk(delta, finish_reason) | so_far)
                if isinstance(event, Complete) and self.with_usage:
                    yield data(self._object("chat.completion.chunk", []) | {"usage": usage_as_json(event.usage)})
        yield DONE

    def last_chunk(self, error: Exception, _: int = 0) -> bytes:
        """What ends a stream that failed, in place of a chunk and of `[DONE]`."""
        return data(openai_error(self.query_id, error))

    def _finish_reason_with_calls(self, finish_reason: str) -> str:
        return "tool_calls" if finish_reason == "stop" and not self.call_is_named else finish_reason

    def _delta(self, message: AnswerEvent, so_far: CallsSoFar) -> tuple[dict[str, Any], str | None]:
        match message:
            case Sources():
                return {"sources": self._source_objects(message)}, None
            case Chunk():
                calls = [call_part(part) for part in so_far.add(calls_of(message))]
                text = {"content": message.content} if message.content or not calls else {}
                return text | ({"tool_calls": calls} if calls else {}), None
            case Citation():
                return {"annotations": self._annotations(message)}, None
            case Complete():
                return grounding_of(message), finish_reason_of(message)
            case _:
                raise AssertionError("a failure is raised, not sent as an event")

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.query_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _source_objects(self, message: Sources) -> list[dict[str, Any]]:
        self._sources = {source.id: source for source in message.sources}
        objects: list[dict[str, Any]] = event_as_json(message)["sources"]
        return objects

    def _annotations(self, citation: Citation) -> list[dict[str, Any]]:
        return [
            {"type": "url_citation", "status": citation.status, "url_citation": cited}
            for cited in url_citations(citation, self._sources)
        ]


def openai_error(query_id: str, error: Exception) -> dict[str, Any]:
    """The error of a stream that failed after it had begun, as OpenAI's API has it."""
    failed = public_error(query_id, error)
    problem = {"status": STATUS[type(failed)], "detail": failed.message, "code": failed.code}
    return OPENAI_ERRORS.body(problem, failed.field)


def url_citations(citation: Citation, sources: Mapping[str, Source]) -> list[dict[str, Any]]:
    """Where each source of a citation is found, and which characters of the answer cite it. `sources`: by id."""
    return [
        {
            "start_index": citation.start,
            "end_index": citation.end,
            "title": sources[cited].title,
            "url": _url(sources[cited]),
        }
        for cited in citation.sources
    ]


def grounding_of(complete: Complete) -> dict[str, Any]:
    """An answer's check as a field of its message; a raw model's answer is not checked and has none."""
    return {} if complete.grounding is None else {"grounding": asdict(complete.grounding)}


def _url(source: Source) -> str:
    url = source.metadata.get("url")
    return url if isinstance(url, str) else f"/v1/documents/{quote(source.document_id, safe='')}"


def finish_reason_of(complete: Complete) -> str:
    """OpenAI's API knows neither that nothing was found nor that someone stopped the answer."""
    return "length" if complete.finish_reason == "length" else "stop"


def usage_as_json(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
