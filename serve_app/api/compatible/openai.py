"""Requests and answers as OpenAI's API has them, and this service's own additions to them.

Written from its OpenAPI document, https://github.com/openai/openai-openapi (paths /chat/completions, /embeddings and
/models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from deployments.types import Language, TextKind
from serve_app.api.compatible.answer_format import AnswerFormat
from serve_app.api.compatible.base import ForeignRequest
from serve_app.api.compatible.sampling import RawSamplingFields, StreamOptions, TopK
from serve_app.api.compatible.tools import Call, CallPart, FunctionTools, GivenCall, ToolChoice
from serve_app.api.error_formats import (
    ErrorFormat,
    ProblemMembers,
    register_error_format,
    register_format_without_route,
)
from serve_app.query.answer_events import Grounding, Source
from serve_app.schemas.base import FilterText, Name, ResponseModel, Text, Whole

Nothing = Annotated[list[Any], Field(max_length=0)]
Ignored = Annotated[Any, Field(description="has no effect")]

_UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one answer is given for a request; leave it out or send 1"),
    "logprobs": ((False,), "log probabilities are not given; leave it out or send false"),
    "top_logprobs": ((0,), "log probabilities are not given; leave it out"),
    "logit_bias": (({},), "is not supported; leave it out"),
    "functions": (([],), "functions are not supported; leave it out"),
    "function_call": (("none",), "functions are not supported; leave it out or send none"),
    "modalities": ((["text"],), 'only ["text"] is supported'),
    "audio": ((), "only text is answered; leave it out"),
}
"""Fields that ask for what this service cannot do: the values that do not, and what to say to all others."""


def supported_by(table: Mapping[str, tuple[tuple[Any, ...], str]]) -> Callable[[Any, ValidationInfo], Any]:
    """A validator of the fields in such a table."""

    def supported(value: Any, info: ValidationInfo) -> Any:
        accepted, why = table[info.field_name or ""]
        if value is not None and value not in accepted:
            raise PydanticCustomError("unsupported", "{why}", {"why": why})
        return value

    return supported


_supported = supported_by(_UNSUPPORTED)


# --- What a chat is asked


_TEXT_OF_PART = {"text": "text", "refusal": "refusal", "input_text": "text", "output_text": "text"}
"""Where the text of a message's part is, by the part's type; of chats and of responses."""


def _text_of_parts(content: Any, info: ValidationInfo) -> Any:
    """A message's content as one text, from its parts where it has some. Only the assistant may have said nothing."""
    if content is None and info.data.get("role") == "assistant":
        return ""
    if content is None:
        raise PydanticCustomError("no_text", "send the message's text")
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(_TEXT_OF_PART.get(kind)) if isinstance(kind, str) else None
        if not isinstance(text, str):
            raise PydanticCustomError("not_text", "only text is read; send a string, or parts of type text")
        texts.append(text)
    return "\n".join(texts)


_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
Content = Annotated[
    Text,
    BeforeValidator(_text_of_parts),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}],
            "description": "null only for the assistant's messages",
        }
    ),
]


class ChatMessage(ForeignRequest):
    """`sources`, `grounding`, `annotations` and `refusal` come back with answers that clients send as they got them."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = Field(None, validate_default=True)
    tool_calls: tuple[GivenCall, ...] | None = Field(None, description="what the assistant called before")
    tool_call_id: Text | None = Field(None, description="with role tool: the call that this is the result of")
    name: Ignored = None
    refusal: Ignored = None
    annotations: Ignored = None
    sources: Ignored = None
    grounding: Ignored = None
    audio: None = None
    function_call: None = None

    _check = field_validator("audio", mode="before")(_supported)

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if (self.role == "tool") is (self.tool_call_id is None):
            raise PydanticCustomError("no_call", "tool_call_id goes with role tool, which needs it")
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("no_assistant", "tool_calls go with role assistant")
        return self


ModelName = Annotated[
    Text,
    Field(max_length=512, description="rag, or the id of a raw model: see /v1/models", examples=["rag"]),
]
DocumentsOf = Annotated[
    Name | None, Field(description="with rag: also search this user's private documents", examples=["u1"])
]
SearchedCollections = Annotated[
    tuple[Name, ...], Field(description="with rag: search these only", examples=[["zakoni"]])
]
AnswerLanguage = Annotated[
    Language | None, Field(description="with rag: language of the answer; by default that of the question")
]


class _Conversation(ForeignRequest):
    model: ModelName
    messages: tuple[ChatMessage, ...] = Field(
        min_length=1, examples=[[{"role": "user", "content": "Koji je rok za žalbu?"}]]
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Whole | None = Field(None, ge=1, description="most tokens of the answer; by default 512, at most 4,096")
    max_completion_tokens: Whole | None = Field(None, ge=1, description="the same; counts where both are given")


class ChatRequest(RawSamplingFields, _Conversation):
    user: DocumentsOf = None

    collections: SearchedCollections = ()
    filter: FilterText = None
    language: AnswerLanguage = None
    top_k: TopK = None

    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    tools: FunctionTools | None = None
    functions: Nothing | None = None
    tool_choice: ToolChoice = Field(None, description="by default auto if there are tools")
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call; by default at most 16")
    function_call: Literal["none"] | None = None
    response_format: AnswerFormat | None = None
    modalities: Annotated[tuple[Literal["text"], ...], Field(min_length=1, max_length=1)] | None = None
    audio: None = None

    store: Ignored = None
    metadata: Ignored = None
    service_tier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    reasoning_effort: Ignored = None
    verbosity: Ignored = None

    _check = field_validator(*_UNSUPPORTED, mode="before")(_supported)


# --- What a chat is answered


CitedUrl = Annotated[str, Field(description="the document's metadata.url, else its own address at this service")]
Support = Annotated[
    Literal["supported", "unsupported"] | None,
    Field(description="beyond OpenAI's API: whether the document supports what cites it; null if not checked"),
]
AnswerSources = Annotated[
    list[Source] | None,
    Field(description="of rag, beyond OpenAI's API: the passages behind the answer, in the order of its [numbers]"),
]
AnswerGrounding = Annotated[
    Grounding | None,
    Field(description="of rag, beyond OpenAI's API: how many of the answer's statements its sources support"),
]


FinishReason = Literal["stop", "length", "tool_calls"]


class UrlCitation(ResponseModel):
    """Characters `start_index` to `end_index` of the answer rest on this document."""

    start_index: int
    end_index: int
    title: str
    url: CitedUrl


class Annotation(ResponseModel):
    type: Literal["url_citation"]
    url_citation: UrlCitation
    status: Support = None


class ChatAnswer(ResponseModel):
    role: Literal["assistant"]
    content: str | None = Field(description="null if the answer is calls alone")
    refusal: None
    annotations: list[Annotation]
    tool_calls: list[Call] | None = Field(None, description="of raw models: the functions that it calls")
    sources: AnswerSources = None
    grounding: AnswerGrounding = None


class Choice(ResponseModel):
    index: Literal[0]
    message: ChatAnswer
    logprobs: None
    finish_reason: FinishReason


class PromptTokens(ResponseModel):
    cached_tokens: int


class ChatUsage(ResponseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


class ChatCompletion(ResponseModel):
    id: str = Field(description="chatcmpl- and what DELETE /v1/query/{query_id} cancels")
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[Choice], Field(min_length=1, max_length=1)]
    usage: ChatUsage


class Delta(ResponseModel):
    """`sources` are in the first of a stream, `annotations` come as statements end, `grounding` is in the last."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[CallPart] | None = None
    annotations: list[Annotation] | None = None
    sources: list[Source] | None = None
    grounding: Grounding | None = None


class ChunkChoice(ResponseModel):
    index: Literal[0]
    delta: Delta
    logprobs: None
    finish_reason: FinishReason | None


USAGE_OF_CHUNK = (
    "in a stream with stream_options.include_usage: null but in the last chunk, and with continuous_usage_stats "
    "in those with text"
)


class ChatChunk(ResponseModel):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: Annotated[list[ChunkChoice], Field(max_length=1)]
    usage: ChatUsage | None = Field(None, description=USAGE_OF_CHUNK)


# --- Embeddings


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(isinstance(text, int | list) for text in value):
        raise PydanticCustomError(
            "token_ids",
            "token ids are of another model's tokenizer; send text. "
            "LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False",
        )
    return value


_INPUT = {"type": "string", "minLength": 1}
Input = Annotated[
    tuple[Annotated[Text, Field(min_length=1)], ...],
    BeforeValidator(_texts),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_INPUT, {"type": "array", "minItems": 1, "items": _INPUT}]}),
]


class EmbeddingsRequest(ForeignRequest):
    model: Text = Field(
        max_length=512, description="the embedder's id: see /v1/models", examples=["multilingual-e5-small"]
    )
    input: Input = Field(examples=[["Rok za žalbu je 15 dana."]])
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: little-endian float32; by default float"
    )
    dimensions: Whole | None = Field(
        None, ge=1, description="numbers of each vector, the first ones, at unit length; by default all"
    )
    input_type: TextKind | None = Field(None, description="query or passage; by default passage")
    user: Ignored = None


class Embedding(ResponseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(ResponseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(ResponseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


# --- Models and errors


class Model(ResponseModel):
    id: str
    object: Literal["model"]
    created: int = Field(description="0: models do not say")
    owned_by: str


class Models(ResponseModel):
    object: Literal["list"]
    data: list[Model]


class ErrorDetail(ResponseModel):
    message: str = Field(description="what was wrong this time, and what to do")
    type: Literal["invalid_request_error", "rate_limit_exceeded", "server_error"]
    param: str | None = Field(description="the field that was wrong, if it was one")
    code: str


class OpenAIError(ResponseModel):
    """An error as OpenAI's API has it."""

    error: ErrorDetail


_CODES = {"unauthenticated": "invalid_api_key", "prompt_too_long": "context_length_exceeded"}
"""Codes that OpenAI's clients know by another name."""


def _error_body(problem: ProblemMembers, field: str | None) -> dict[str, Any]:
    status: int = problem["status"]
    kind, code = "invalid_request_error", _CODES.get(problem["code"], problem["code"])
    if status == 429:
        kind = code = "rate_limit_exceeded"
    elif status >= 500:
        kind = "server_error"
    return {"error": {"message": problem["detail"], "type": kind, "param": field, "code": code}}


OPENAI_PATHS = ("/v1/chat", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/models")
OPENAI_ERRORS = register_error_format(ErrorFormat("application/json", OpenAIError, _error_body, 400), *OPENAI_PATHS)
# Clients of OpenAI's API try routes that are not here.
register_format_without_route(OPENAI_ERRORS, "/v1")
