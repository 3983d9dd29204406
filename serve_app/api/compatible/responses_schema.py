"""Requests to /responses and what they are answered, as OpenAI's API has them.

Written from its OpenAPI document, https://github.com/openai/openai-openapi (path /responses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from serve_app.api.compatible.answer_format import AnswerFormat, BoundedSchema, SchemaName
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
    supported_by,
)
from serve_app.api.compatible.sampling import RawSamplingFields, TopK
from serve_app.api.compatible.tools import (
    CalledFunction,
    FlatFunctionTools,
    FlatToolChoice,
    Function,
    FunctionTool,
    GivenCall,
)
from serve_app.schemas.base import FilterText, ResponseModel, Text, Whole

_NOT_KEPT = "answers are not kept; leave it out, and send the conversation so far as input"
_UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "previous_response_id": ((), _NOT_KEPT),
    "conversation": ((), _NOT_KEPT),
    "background": ((False,), "answers are not kept; leave it out or send false"),
    "prompt": ((), "prompts are not kept here; leave it out"),
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


class InputCall(CalledFunction):
    """A call that a raw model made before."""

    type: Literal["function_call"]
    call_id: Text = Field(min_length=1, max_length=128)
    id: Ignored = None
    status: Ignored = None


class InputCallResult(ForeignRequest):
    type: Literal["function_call_output"]
    call_id: Text = Field(min_length=1, max_length=128)
    output: Content
    id: Ignored = None
    status: Ignored = None


_INPUTS: Mapping[str, type[ForeignRequest]] = {
    "message": InputMessage,
    "function_call": InputCall,
    "function_call_output": InputCallResult,
}


def _items(value: Any) -> Any:
    """A text as the message that it stands for."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _item(value: Any) -> Any:
    """By its type, so that errors are those of this type alone."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in (None, *_INPUTS):
        raise PydanticCustomError(
            "no_message", "only messages, calls and their results are read; leave out items of other types"
        )
    return _INPUTS[kind or "message"].model_validate(value)


Input = Annotated[
    tuple[Annotated[InputMessage | InputCall | InputCallResult, BeforeValidator(_item)], ...],
    BeforeValidator(_items),
    Field(min_length=1, examples=["Koji je rok za žalbu?"]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "anyOf": [{"$ref": f"#/components/schemas/{item.__name__}"} for item in _INPUTS.values()]
                    },
                },
            ]
        }
    ),
]


class FlatAnswerFormat(ForeignRequest):
    """`response_format` of chats, with what is in its `json_schema` beside its type."""

    type: Literal["text", "json_object", "json_schema"]
    name: SchemaName | None = Field(None, description="with type json_schema")
    schema_: BoundedSchema | None = Field(None, alias="schema", description="with type json_schema")
    description: Ignored = None
    strict: Ignored = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        given = [self.name is not None, self.schema_ is not None]
        if given != [self.type == "json_schema"] * 2:
            why = "name and schema go with type json_schema, which needs both"
            raise PydanticCustomError("no_schema", "{why}", {"why": why})
        return self

    def as_of_chats(self) -> AnswerFormat:
        if self.schema_ is None:
            return AnswerFormat(type=self.type)
        return AnswerFormat.model_validate(
            {"type": self.type, "json_schema": {"name": self.name, "schema": self.schema_}}
        )


class TextOptions(ForeignRequest):
    format: FlatAnswerFormat | None = None
    verbosity: Ignored = None


class _Asked(ForeignRequest):
    model: ModelName
    input: Input
    instructions: Text | None = Field(None, description="a message of the system, before the input")
    stream: bool | None = None
    max_output_tokens: Whole | None = Field(
        None, ge=1, description="most tokens of the answer; by default 512, at most 4,096"
    )


class ResponsesRequest(RawSamplingFields, _Asked):
    user: DocumentsOf = None

    collections: SearchedCollections = ()
    filter: FilterText = None
    language: AnswerLanguage = None
    top_k: TopK = None

    previous_response_id: None = Field(None, description="answers are not kept")
    conversation: None = Field(None, description="answers are not kept")
    background: Literal[False] | None = None
    prompt: None = None
    tools: FlatFunctionTools | None = None
    tool_choice: FlatToolChoice = Field(None, description="by default auto if there are tools")
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call; by default at most 16")
    top_logprobs: Literal[0] | None = None
    text: TextOptions | None = None

    include: Ignored = None
    max_tool_calls: Ignored = None
    metadata: Ignored = None
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
        messages = _as_chat(self.input)
        if self.instructions:
            messages.insert(0, ChatMessage(role="system", content=self.instructions))
        form = self.text.format if self.text is not None else None
        return ChatRequest(
            model=self.model,
            messages=tuple(messages),
            max_completion_tokens=self.max_output_tokens,
            user=self.user,
            collections=self.collections,
            filter=self.filter,
            language=self.language,
            top_k=self.top_k,
            response_format=form.as_of_chats() if form is not None else None,
            tools=tuple(
                FunctionTool(type="function", function=Function(**tool.model_dump(exclude={"type"})))
                for tool in self.tools or ()
            ),
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            **{name: getattr(self, name) for name in RawSamplingFields.model_fields},
        )


def _as_chat(items: Sequence[InputMessage | InputCall | InputCallResult]) -> list[ChatMessage]:
    """Calls that follow one another, or what the assistant said, are of the same turn."""
    messages: list[ChatMessage] = []
    for item in items:
        match item:
            case InputMessage():
                messages.append(ChatMessage(role=item.role, content=item.content))
            case InputCallResult():
                messages.append(ChatMessage(role="tool", content=item.output, tool_call_id=item.call_id))
            case InputCall():
                call = GivenCall(id=item.call_id, function=CalledFunction(name=item.name, arguments=item.arguments))
                if messages and messages[-1].role == "assistant":
                    last = messages.pop()
                    before, text = last.tool_calls or (), last.content
                else:
                    before, text = (), ""
                messages.append(ChatMessage(role="assistant", content=text, tool_calls=(*before, call)))
    return messages


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


class OutputCall(ResponseModel):
    """A function that a raw model calls."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = Field(description="the text of a JSON object; cut where the answer was")
    status: Literal["in_progress", "completed", "incomplete"]


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
    output: list[OutputMessage | OutputCall]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    metadata: dict[str, str]


class ResponseEvent(ResponseModel):
    """`type` is also the event's name. Which of the other fields there are depends on it."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    item: OutputMessage | OutputCall | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: Literal[0] | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: Nothing | None = None
    annotation: ResponseAnnotation | None = None
    annotation_index: int | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
