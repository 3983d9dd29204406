"""POST /completions: a raw model continues a text. Benchmark clients and older ones call it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from deployments import errors
from deployments.errors import InvalidRequest
from deployments.types import Usage
from serve_app.api.compatible.chat import raw_model
from serve_app.api.compatible.completions import (
    DONE,
    FAILED_EXAMPLE,
    finish_reason_of,
    openai_error,
    send,
    usage_as_json,
)
from serve_app.api.compatible.openai import OpenAIError
from serve_app.api.compatible.text_completion_schema import CompletionRequest, TextCompletion
from serve_app.api.dependencies import Asker, DeadlineSeconds, ServicesDep
from serve_app.api.idempotency import QuestionRoute
from serve_app.api.openapi import describe_data_stream, describe_errors, describe_response
from serve_app.api.streaming import PING, EventStream, data
from serve_app.query.answer_events import AnswerEvent, Chunk, Complete, RawChunk
from serve_app.services.access import Access
from serve_app.services.container import Services
from serve_app.services.models import RAG
from serve_app.services.queries import AdmittedQuery, FieldNames

router = APIRouter(tags=["openai"], route_class=QuestionRoute)
_NAMES = FieldNames("prompt", "max_tokens")


@dataclass(slots=True)
class Continuation:
    """What all objects of one answer share."""

    query_id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    with_usage: bool = False
    """Whether a stream ends on a chunk with the usage."""

    async def as_object(self, answer: AsyncGenerator[AnswerEvent]) -> dict[str, Any]:
        text: list[str] = []
        finish_reason, usage = "stop", Usage()
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    text.append(event.content)
                elif isinstance(event, Complete):
                    finish_reason, usage = finish_reason_of(event), event.usage
        return self.piece("".join(text), finish_reason) | {"usage": usage_as_json(usage)}

    async def chunks(self, answer: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[bytes]:
        """Server-sent events. By `[DONE]`, the last one, clients tell a whole answer from one that broke off."""
        null_usage: dict[str, Any] = {"usage": None} if self.with_usage else {}
        async with aclosing(answer) as events:
            async for event in events:
                if isinstance(event, RawChunk) and event.usage is not None:
                    yield data(self.piece(event.content) | {"usage": usage_as_json(event.usage)})
                elif isinstance(event, Chunk):
                    yield data(self.piece(event.content) | null_usage)
                elif isinstance(event, Complete):
                    yield data(self.piece("", finish_reason_of(event)) | null_usage)
                    if self.with_usage:
                        yield data(self.piece("") | {"choices": [], "usage": usage_as_json(event.usage)})
        yield DONE

    def last_chunk(self, error: Exception, _: int = 0) -> bytes:
        """What ends a stream that failed, in place of a chunk and of `[DONE]`."""
        return data(openai_error(self.query_id, error))

    def piece(self, text: str, finish_reason: str | None = None) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.query_id}",
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}],
        }


_SHOWN = Continuation("3f2a9c4e5b6d7f8091a2b3c4d5e6f708", "Qwen/Qwen3-0.6B", 1_795_509_000)
_STREAM = describe_data_stream(
    (TextCompletion, OpenAIError),
    {
        "text": data(_SHOWN.piece(" 15 dana.")),
        "finish": data(_SHOWN.piece("", "stop")),
        "error": data(FAILED_EXAMPLE),
        "heartbeat": PING,
        "done": DONE,
    },
)


@router.post(
    "/completions",
    response_class=EventStream,
    responses={
        200: describe_response(
            "X-Query-ID",
            model=TextCompletion,
            content=_STREAM,
            example=_SHOWN.piece(" 15 dana.", "stop") | {"usage": usage_as_json(Usage(5, 4))},
            description="one object, or server-sent events if streamed, the last of them `data: [DONE]`",
        ),
        **describe_errors(
            errors.UnknownModel,
            errors.PromptTooLong,
            errors.StageUnavailable,
            errors.Overloaded,
            errors.DeadlineExceeded,
        ),
    },
)
async def continue_text(
    body: CompletionRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds
) -> Response:
    """Continue a text as with OpenAI's older API. Only raw models do: `rag` answers chats.

    A failure before a stream's first byte has its own status. A later one is its last event, without `[DONE]`.
    """
    admitted = await _begin(services, caller, body, deadline_s)
    answer = services.queries.complete(admitted)
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    form = Continuation(admitted.query.id, body.model, with_usage=with_usage)
    return await send(
        form, answer, admitted.ending, in_chunks=bool(body.stream), heartbeat_s=services.config.heartbeat_s
    )


async def _begin(services: Services, caller: Access, body: CompletionRequest, deadline_s: float) -> AdmittedQuery:
    """The admitted request. Raises RagError."""
    if body.model == RAG:
        raise InvalidRequest(
            f"model: {RAG} answers chats only; send this to /v1/chat/completions, or name a raw model", field="model"
        )
    model = await raw_model(services, body.model, deadline_s)
    query = services.queries.validate_chat(
        caller, body.prompt, user=None, max_tokens=body.max_tokens, deadline_s=deadline_s, names=_NAMES
    )
    query = replace(
        query,
        model=model,
        temperature=1.0 if body.temperature is None else body.temperature,
        sampling=body.sampling(body.top_k, body.stream_options, query.max_tokens),
        **body.of_query(),
    )
    return await services.queries.acquire_slot(caller, query, from_documents=False)
