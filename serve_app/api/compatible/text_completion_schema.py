"""Requests to /completions and what they are answered, as OpenAI's older API has them.

Written from its OpenAPI document, https://github.com/openai/openai-openapi (path /completions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from serve_app.api.compatible.base import ForeignRequest
from serve_app.api.compatible.openai import USAGE_OF_CHUNK, ChatUsage, Ignored, supported_by
from serve_app.api.compatible.sampling import RawSamplingFields, StreamOptions, TopK
from serve_app.schemas.base import ResponseModel, Text, Whole

_UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one answer is given for a request; leave it out or send 1"),
    "best_of": ((1,), "one answer is made for a request; leave it out or send 1"),
    "echo": ((False,), "answers do not repeat the prompt; leave it out or send false"),
    "logprobs": ((), "log probabilities are not given; leave it out"),
    "logit_bias": (({},), "is not supported; leave it out"),
    "suffix": (("",), "is not supported; leave it out"),
}
"""Fields that ask for what this service cannot do: the values that do not, and what to say to all others."""


def _one_text(prompt: Any) -> Any:
    """The text, also if it is the only one of a list."""
    if not isinstance(prompt, list):
        return prompt
    if prompt and all(isinstance(part, int | list) for part in prompt):
        raise PydanticCustomError("token_ids", "token ids are of one model's tokenizer; send text")
    if len(prompt) != 1:
        raise PydanticCustomError("one_prompt", "a request has one prompt; send a request for each")
    return prompt[0]


_PROMPT = {"type": "string", "minLength": 1}
Prompt = Annotated[
    Text,
    BeforeValidator(_one_text),
    Field(min_length=1, examples=["Rok za žalbu je"]),
    WithJsonSchema({"anyOf": [_PROMPT, {"type": "array", "minItems": 1, "maxItems": 1, "items": _PROMPT}]}),
]


class _Continuation(ForeignRequest):
    model: Text = Field(
        max_length=512, description="the id of a raw model: see /v1/models", examples=["Qwen/Qwen3-0.6B"]
    )
    prompt: Prompt = Field(description="the text to continue; names of control tokens in it are plain text")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Whole | None = Field(None, ge=1, description="most tokens of the answer; by default 512, at most 4,096")


class CompletionRequest(RawSamplingFields, _Continuation):
    top_k: TopK = None
    user: Ignored = None

    n: Literal[1] | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    suffix: Literal[""] | None = None

    _check = field_validator(*_UNSUPPORTED, mode="before")(supported_by(_UNSUPPORTED))


class CompletionChoice(ResponseModel):
    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(ResponseModel):
    """A whole answer, or a chunk of a stream: of that only the last choice has a `finish_reason`."""

    id: str = Field(description="cmpl- and what DELETE /v1/query/{query_id} cancels")
    object: Literal["text_completion"]
    created: int
    model: str
    choices: Annotated[list[CompletionChoice], Field(max_length=1)]
    usage: ChatUsage | None = Field(None, description=USAGE_OF_CHUNK)
