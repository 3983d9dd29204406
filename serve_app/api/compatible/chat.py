"""POST /chat/completions: from the caller's documents (model rag), or the raw model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, replace

from fastapi import APIRouter
from starlette.responses import Response

from deployments import errors
from deployments.errors import InvalidRequest
from deployments.types import Message as ChatTurn
from deployments.types import Usage
from serve_app.api.compatible.completions import DONE, FAILED_EXAMPLE, Completion, send
from serve_app.api.compatible.openai import ChatChunk, ChatCompletion, ChatMessage, ChatRequest, OpenAIError
from serve_app.api.compatible.tools import NamedFunction, chosen_tools, functions_of
from serve_app.api.dependencies import Asker, DeadlineSeconds, ServicesDep
from serve_app.api.idempotency import QuestionRoute
from serve_app.api.openapi import QUESTION_ERRORS, describe_data_stream, describe_errors, describe_response
from serve_app.api.streaming import PING, EventStream, data
from serve_app.query.answer_events import AnswerEvent, Source
from serve_app.query.deadline import Deadline
from serve_app.query.request import Query
from serve_app.schemas.queries import QueryRequest
from serve_app.services.access import Access
from serve_app.services.container import Services
from serve_app.services.models import RAG, require_model
from serve_app.services.queries import AdmittedQuery, FieldNames

router = APIRouter(tags=["openai"], route_class=QuestionRoute)
_ONLY_WITH_DOCUMENTS = ("collections", "filter", "language")

_SHOWN = Completion("3f2a9c4e5b6d7f8091a2b3c4d5e6f708", "rag", 1_795_509_000)
_SOURCE = asdict(Source("p1", "nn-30-18", "Zakon o radu", "Rok je 15 dana.", 0.83, {"year": 2018}))
_CITED = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 15, "title": "Zakon o radu", "url": "/v1/documents/nn-30-18"},
}
_USAGE = {
    "prompt_tokens": 812,
    "completion_tokens": 9,
    "total_tokens": 821,
    "prompt_tokens_details": {"cached_tokens": Usage().cached_tokens},
}
_ANSWER = {
    "id": f"chatcmpl-{_SHOWN.query_id}",
    "object": "chat.completion",
    "created": _SHOWN.created,
    "model": _SHOWN.model,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Rok je 15 dana [1].",
                "refusal": None,
                "annotations": [_CITED],
                "sources": [_SOURCE],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}


_STREAM = describe_data_stream(
    (ChatChunk, OpenAIError),
    {
        "sources": data(_SHOWN.chunk({"role": "assistant", "content": "", "sources": [_SOURCE]})),
        "content": data(_SHOWN.chunk({"content": "Rok je 15 dana [1]."})),
        "annotations": data(_SHOWN.chunk({"annotations": [_CITED]})),
        "finish": data(_SHOWN.chunk({}, "stop")),
        "error": data(FAILED_EXAMPLE),
        "heartbeat": PING,
        "done": DONE,
    },
)


@router.post(
    "/chat/completions",
    response_class=EventStream,
    responses={
        200: describe_response(
            "X-Query-ID",
            model=ChatCompletion,
            content=_STREAM,
            example=_ANSWER,
            description="one object, or server-sent events if streamed, the last of them `data: [DONE]`",
        ),
        **describe_errors(errors.UnknownModel, *QUESTION_ERRORS),
    },
)
async def complete(body: ChatRequest, services: ServicesDep, caller: Asker, deadline_s: DeadlineSeconds) -> Response:
    """Chat as with OpenAI's API.

    Model `rag` answers the last message from the caller's documents, with the messages before it as the conversation
    so far. Any other model gets the messages as they are.

    A failure before a stream's first byte has its own status. A later one is its last event, without `[DONE]`.
    """
    admitted, answer = await begin(services, caller, body, deadline_s, _names(body))
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    is_named = isinstance(body.tool_choice, NamedFunction)
    form = Completion(admitted.query.id, body.model, with_usage=with_usage, call_is_named=is_named)
    return await send(
        form, answer, admitted.ending, in_chunks=bool(body.stream), heartbeat_s=services.config.heartbeat_s
    )


async def begin(
    services: Services, caller: Access, body: ChatRequest, deadline_s: float, names: FieldNames
) -> tuple[AdmittedQuery, AsyncGenerator[AnswerEvent]]:
    """The admitted chat, and its answer. `names`: of the request's fields, for errors. Raises RagError."""
    if body.model == RAG:
        query = await _from_documents(services, caller, body, deadline_s, names)
        admitted = await services.queries.acquire_slot(caller, query)
        return admitted, services.queries.answer(admitted)
    query = await _raw(services, caller, body, deadline_s, names)
    admitted = await services.queries.acquire_slot(caller, query, from_documents=False)
    return admitted, services.queries.chat(admitted, _conversation(body.messages))


async def _from_documents(
    services: Services, caller: Access, body: ChatRequest, deadline_s: float, names: FieldNames
) -> Query:
    """The last user message is the question, those of the system join the tenant's preamble. Raises InvalidRequest."""
    body.refuse_raw_sampling(RAG, body.stream_options)
    _refuse_tools(body, names)
    if _schema(body) is not None:
        raise InvalidRequest(
            f"{names.answer_format}: only raw models answer in JSON, and {RAG} is none; leave it out",
            field=names.answer_format,
        )
    if body.top_k is not None and body.top_k < 1:
        raise InvalidRequest(
            f"top_k: is {body.top_k}; for model {RAG} it is a number of passages: at least 1", field="top_k"
        )
    turns = [message for message in body.messages if message.role in ("user", "assistant")]
    if not turns or turns[-1].role != "user":
        last = f"the last one is of role {turns[-1].role}" if turns else "there is none of role user"
        raise InvalidRequest(f"{names.query}: {last}; send the question last, with role user", field=names.query)
    request = QueryRequest(
        query=turns[-1].content,
        language=body.language,
        user=body.user,
        collections=body.collections,
        filter=body.filter,
        top_k=body.top_k,
        max_tokens=_max_tokens(body),
        temperature=0.0 if body.temperature is None else body.temperature,
    )
    query = await services.queries.validate(caller, request, deadline_s, names=names)
    of_system = (message.content for message in body.messages if message.role in ("system", "developer"))
    preambles = [query.preamble, *of_system]
    return replace(
        query,
        history=_conversation(turns[:-1]),
        preamble="\n\n".join(text.strip() for text in preambles if text.strip()),
        **body.of_query(),
    )


async def _raw(services: Services, caller: Access, body: ChatRequest, deadline_s: float, names: FieldNames) -> Query:
    model = await raw_model(services, body.model, deadline_s)
    for field in _ONLY_WITH_DOCUMENTS:
        if getattr(body, field):
            raise InvalidRequest(f"{field}: only model {RAG} looks into documents; leave it out", field=field)
    schema = _schema(body)
    tools = chosen_tools(
        functions_of(body.tools or ()), body.tool_choice, parallel=body.parallel_tool_calls is not False
    )
    if tools is not None and schema is not None:
        raise InvalidRequest(
            f"tools: with {names.answer_format} the answer is JSON, and calls nothing; leave out one of the two",
            field="tools",
        )
    if body.ignore_eos and (schema is not None or tools is not None):
        raise InvalidRequest(
            f"ignore_eos: with {'tools' if schema is None else names.answer_format} the answer must end where its JSON "
            "does; leave out one of the two",
            field="ignore_eos",
        )
    last = next((message for message in reversed(body.messages) if message.role == "user"), body.messages[-1])
    query = services.queries.validate_chat(
        caller,
        last.content,
        user=body.user,
        max_tokens=_max_tokens(body),
        deadline_s=deadline_s,
        names=names,
    )
    return replace(
        query,
        model=model,
        temperature=1.0 if body.temperature is None else body.temperature,
        sampling=replace(body.sampling(body.top_k, body.stream_options, query.max_tokens), json_schema=schema),
        tools=tools,
        **body.of_query(),
    )


async def raw_model(services: Services, named: str, deadline_s: float) -> str:
    """What generation calls the raw model of this id: empty for its own. Raises UnknownModel."""
    models = await Deadline(deadline_s).wait("generation", services.models.chat_models())
    require_model(named, (RAG, *models))
    return "" if named == models[0] else named


def _conversation(messages: Sequence[ChatMessage]) -> tuple[ChatTurn, ...]:
    return tuple(
        ChatTurn(
            message.role if message.role != "developer" else "system",
            message.content,
            tuple(call.as_call() for call in message.tool_calls or ()),
            message.tool_call_id or "",
        )
        for message in messages
    )


def _refuse_tools(body: ChatRequest, names: FieldNames) -> None:
    """For model rag. Raises InvalidRequest."""
    if body.tools or body.tool_choice not in (None, "none", "auto"):
        field = "tools" if body.tools else "tool_choice"
        raise InvalidRequest(f"{field}: only raw models call functions, and {RAG} is none; leave it out", field=field)
    if any(message.tool_calls or message.role == "tool" for message in body.messages):
        raise InvalidRequest(
            f"{names.query}: calls of functions and their results are for raw models, not for {RAG}; leave them out",
            field=names.query,
        )


def _schema(body: ChatRequest) -> str | None:
    return None if body.response_format is None else body.response_format.schema_text()


def _max_tokens(body: ChatRequest) -> int | None:
    return body.max_completion_tokens or body.max_tokens


def _names(body: ChatRequest) -> FieldNames:
    return FieldNames("messages", "max_completion_tokens" if body.max_completion_tokens else "max_tokens")
