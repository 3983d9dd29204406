"""POST /responses: a chat as OpenAI's newer API has it. Several clients call it unless they are told otherwise."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from deployments import errors
from deployments.types import Usage
from serve_app.api.compatible import chat
from serve_app.api.compatible.completions import send
from serve_app.api.compatible.response_events import ResponseAnswer
from serve_app.api.compatible.responses_schema import ResponseEvent, ResponseObject, ResponsesRequest
from serve_app.api.dependencies import Asker, DeadlineSeconds, ServicesDep
from serve_app.api.idempotency import QuestionRoute
from serve_app.api.openapi import QUESTION_ERRORS, describe_data_stream, describe_errors, describe_response
from serve_app.api.streaming import PING, EventStream, named
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources
from serve_app.services.queries import FieldNames

router = APIRouter(tags=["openai"], route_class=QuestionRoute)
_NAMES = FieldNames("input", "max_output_tokens", "text.format")
_ID = "3f2a9c4e5b6d7f8091a2b3c4d5e6f708"
_SOURCE = Source("p1", "nn-30-18", "Zakon o radu", "Rok je 15 dana.", 0.83, {"year": 2018})


def _shown() -> tuple[dict[str, object], dict[str, bytes]]:
    """An example of a whole response, and of its stream's events."""
    answer = ResponseAnswer(_ID, ResponsesRequest.model_validate({"model": "rag", "input": "Koji je rok?"}), 1795509000)
    said: list[AnswerEvent] = [
        Sources(_ID, (_SOURCE,)),
        Chunk(_ID, "Rok je 15 dana [1]."),
        Citation(_ID, ("p1",), 0, 15, "supported"),
        Complete(_ID, Usage(812, 9), {}, "stop", "vllm", "Qwen/Qwen3-8B"),
    ]
    events = [event for message in said for event in answer.events_of(message)]
    return events[-1]["response"], {event["type"].removeprefix("response."): named(event) for event in events}


_ANSWER, _EVENTS = _shown()


@router.post(
    "/responses",
    response_class=EventStream,
    responses={
        200: describe_response(
            "X-Query-ID",
            model=ResponseObject,
            content=describe_data_stream((ResponseEvent,), _EVENTS | {"heartbeat": PING}, ends_with_done=False),
            example=_ANSWER,
            description="one object, or server-sent events if streamed",
        ),
        **describe_errors(errors.UnknownModel, *QUESTION_ERRORS),
    },
)
async def create(body: ResponsesRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds) -> Response:
    """Answer as with OpenAI's Responses API. Models, and what `rag` reads, are those of `/v1/chat/completions`.

    No conversation is kept: send it so far as `input`. A failure before a stream's first byte has its own status.
    A later one is an event `error`, and then `response.failed`.
    """
    admitted, events = await chat.begin(services, caller, body.as_chat(), deadline_s, _NAMES)
    form = ResponseAnswer(admitted.query.id, body)
    return await send(
        form, events, admitted.ending, in_chunks=bool(body.stream), heartbeat_s=services.config.heartbeat_s
    )
