"""Requests to /responses and what they are answered, as OpenAI's API has them.

Written from its OpenAPI document, https://github.com/openai/openai-openapi (path /responses).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from serve_app.api.compatible.base import ForeignRequest
from serve_app.api.compatible.openai import (
    AnswerGrounding,
    AnswerLanguage,
    AnswerSources,
    ChatMessage,
    ChatRequest,
    CitedUrl,
    Content,
    DocumentsOf,
    Ignored,
    ModelName,
    Nothing,
    SearchedCollections,
    Support,
    TextFormat,
    supported_by,
)
from serve_app.api.compatible.sampling import Temperature, TopK, TopP
from serve_app.schemas.base import FilterText, ResponseModel, Text, Whole

_NOT_KEPT = "answers are not kept; leave it out, and send the conversation so far as input"
_UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "previous_response_id": ((), _NOT_KEPT),
    "conversation": ((), _NOT_KEPT),
    "background": ((False,), "answers are not kept; leave it out or send false"),
    "prompt": ((), "prompts are not kept here; leave it out"),
    "tools": (([],), "tools are not supported; leave it out"),
    "tool_choice": (("none", "auto"), "tools are not supported; leave it out or send none"),
    "top_logprobs": ((0,), "log probabilities are not given; leave it out"),
}
"""Fields that ask for what this service cannot do: the values that do not, and what to say to all others."""


class InputMessage(ForeignRequest):
    """`id`, `status`, `sources` and `grounding` come back with answers that clients send as they got them."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None
    sources: Ignored = None
    grounding: Ignored = None


def _messages(value: Any) -> Any:
    """A text as the message that it stands for."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, list):
        for item in value:
            kind = item.get("type") if isinstance(item, dict) else None
            if kind not in (None, "message"):
                raise PydanticCustomError("no_message", "only messages are read; leave out items of other types")
    return value


Input = Annotated[
    tuple[InputMessage, ...],
    BeforeValidator(_messages),
    Field(min_length=1, examples=["Koji je rok za žalbu?"]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/InputMessage"}},
            ]
        }
    ),
]


class TextOptions(ForeignRequest):
    format: TextFormat | None = None
    verbosity: Ignored = None

    _check = field_validator("format", mode="before")(
        supported_by({"format": (({"type": "text"},), 'only {"type": "text"} is supported')})
    )


class ResponsesRequest(ForeignRequest):
    model: ModelName
    input: Input
    instructions: Text | None = Field(None, description="a message of the system, before the input")
    stream: bool | None = None
    max_output_tokens: Whole | None = Field(
        None, ge=1, description="most tokens of the answer; by default 512, at most 4,096"
    )
    temperature: Temperature = None
    top_p: TopP = None
    user: DocumentsOf = None

    collections: SearchedCollections = ()
    filter: FilterText = None
    language: AnswerLanguage = None
    top_k: TopK = None

    previous_response_id: None = Field(None, description="answers are not kept")
    conversation: None = Field(None, description="answers are not kept")
    background: Literal[False] | None = None
    prompt: None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    top_logprobs: Literal[0] | None = None
    text: TextOptions | None = None

    include: Ignored = None
    max_tool_calls: Ignored = None
    metadata: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    reasoning: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    stream_options: Ignored = None
    truncation: Ignored = None

    _check = field_validator(*_UNSUPPORTED, mode="before")(supported_by(_UNSUPPORTED))

    def as_chat(self) -> ChatRequest:
        messages = [ChatMessage(role=message.role, content=message.content) for message in self.input]
        if self.instructions:
            messages.insert(0, ChatMessage(role="system", content=self.instructions))
        return ChatRequest(
            model=self.model,
            messages=tuple(messages),
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            user=self.user,
            collections=self.collections,
            filter=self.filter,
            language=self.language,
            top_k=self.top_k,
        )


class ResponseAnnotation(ResponseModel):
    """Characters `start_index` to `end_index` of the answer rest on this document."""

    type: Literal["url_citation"]
    start_index: int
    end_index: int
    title: str
    url: CitedUrl
    status: Support = None


class OutputText(ResponseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[ResponseAnnotation]
    logprobs: Nothing


class OutputMessage(ResponseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]
    sources: AnswerSources = None
    grounding: AnswerGrounding = None


class InputTokens(ResponseModel):
    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputTokens(ResponseModel):
    reasoning_tokens: Literal[0]


class ResponseUsage(ResponseModel):
    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class IncompleteDetails(ResponseModel):
    reason: Literal["max_output_tokens"]


class ResponseFailure(ResponseModel):
    code: Literal["server_error"]
    message: str


class ResponseObject(ResponseModel):
    id: str = Field(description="resp_ and what DELETE /v1/query/{query_id} cancels")
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: Literal[False]
    previous_response_id: None
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Literal["none"]
    tools: Nothing
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    metadata: dict[str, str]


class ResponseEvent(ResponseModel):
    """`type` is also the event's name. Which of the other fields there are depends on it."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    item: OutputMessage | None = None
    item_id: str | None = None
    output_index: Literal[0] | None = None
    content_index: Literal[0] | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: Nothing | None = None
    annotation: ResponseAnnotation | None = None
    annotation_index: int | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
