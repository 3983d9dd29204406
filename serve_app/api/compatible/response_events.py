"""The messages of an answer → the events of OpenAI's responses. The last one holds the whole response."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from deployments.types import Usage
from serve_app.api.compatible.completions import grounding_of, openai_error, url_citations
from serve_app.api.compatible.responses_schema import ResponsesRequest
from serve_app.api.streaming import named
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources
from serve_app.schemas.queries import event_as_json

_IN_MESSAGE = {"output_index": 0, "content_index": 0}


@dataclass(slots=True)
class ResponseAnswer:
    """One answer. Its only item of output is a message, with one part."""

    query_id: str
    request: ResponsesRequest
    created_at: int = field(default_factory=lambda: int(time.time()))
    _text: list[str] = field(default_factory=list)
    _annotations: list[dict[str, Any]] = field(default_factory=list)
    _of_message: dict[str, Any] = field(default_factory=dict)
    _sources: dict[str, Source] = field(default_factory=dict)
    _sent: int = 0

    async def as_object(self, answer: AsyncGenerator[AnswerEvent]) -> dict[str, Any]:
        async with aclosing(self.events(answer)) as events:
            *_, last = [event async for event in events]
        response: dict[str, Any] = last["response"]
        return response

    async def chunks(self, answer: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[bytes]:
        """The events as they are sent."""
        async with aclosing(self.events(answer)) as events:
            async for event in events:
                yield named(event)

    def last_chunk(self, error: Exception, _: int = 0) -> bytes:
        """What ends a stream that failed."""
        failed = openai_error(self.query_id, error)["error"]
        told = {name: failed[name] for name in ("code", "message", "param")}
        failure = {"code": "server_error", "message": failed["message"]}
        response = self._response("failed", [self._message("incomplete")], error=failure)
        return named(self._event("error", **told)) + named(self._event("response.failed", response=response))

    async def events(self, answer: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[dict[str, Any]]:
        async with aclosing(answer) as messages:
            async for message in messages:
                for event in self.events_of(message):
                    yield event

    def events_of(self, message: AnswerEvent) -> list[dict[str, Any]]:
        """The events that one message becomes. They are made in the order in which they are sent."""
        if isinstance(message, Sources):
            self._sources = {source.id: source for source in message.sources}
            self._of_message["sources"] = event_as_json(message)["sources"]
        events = [] if self._sent else self._opening()
        match message:
            case Chunk():
                self._text.append(message.content)
                events.append(self._in_message("response.output_text.delta", delta=message.content, logprobs=[]))
            case Citation():
                events += self._cited(message)
            case Complete():
                events += self._ending(message)
        return events

    def _opening(self) -> list[dict[str, Any]]:
        response = self._response("in_progress", [])
        empty = self._message("in_progress") | {"content": []}
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event("response.output_item.added", output_index=0, item=empty),
            self._in_message("response.content_part.added", part=self._part()),
        ]

    def _cited(self, citation: Citation) -> list[dict[str, Any]]:
        events = []
        for cited in url_citations(citation, self._sources):
            annotation = {"type": "url_citation", "status": citation.status, **cited}
            events.append(
                self._in_message(
                    "response.output_text.annotation.added",
                    annotation=annotation,
                    annotation_index=len(self._annotations),
                )
            )
            self._annotations.append(annotation)
        return events

    def _ending(self, complete: Complete) -> list[dict[str, Any]]:
        self._of_message |= grounding_of(complete)
        part = self._part()
        is_cut = complete.finish_reason == "length"
        message = self._message("incomplete" if is_cut else "completed")
        usage = _usage(complete.usage)
        response = self._response("incomplete" if is_cut else "completed", [message], usage=usage)
        return [
            self._in_message("response.output_text.done", text=part["text"], logprobs=[]),
            self._in_message("response.content_part.done", part=part),
            self._event("response.output_item.done", output_index=0, item=message),
            self._event(f"response.{response['status']}", response=response),
        ]

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._sent += 1
        return {"type": kind, "sequence_number": self._sent - 1, **fields}

    def _in_message(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self._event(kind, item_id=self._message_id, **_IN_MESSAGE, **fields)

    @property
    def _message_id(self) -> str:
        return f"msg_{self.query_id}"

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": "".join(self._text),
            "annotations": list(self._annotations),
            "logprobs": [],
        }

    def _message(self, status: str) -> dict[str, Any]:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [self._part()],
            **self._of_message,
        }

    def _response(
        self,
        status: str,
        output: list[dict[str, Any]],
        *,
        usage: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {
            "id": f"resp_{self.query_id}",
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self.request.instructions,
            "max_output_tokens": self.request.max_output_tokens,
            "model": self.request.model,
            "output": output,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": self.request.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": self.request.top_p,
            "truncation": "disabled",
            "usage": usage,
            "metadata": {},
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
