"""How tokens are chosen: fields of requests as OpenAI's API has them, and for raw models those by which vLLM's servers
are asked for more. vLLM's benchmark client, guidellm and others send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from deployments.errors import InvalidRequest
from deployments.types import Sampling
from serve_app.api.compatible.base import ForeignRequest
from serve_app.schemas.base import Number, Seed, Text, Whole

MAX_STOP_TOKENS: Final = 64
LARGEST_TOP_K: Final = 1_000_000
"""More tokens than any vocabulary has."""
LARGEST_TOKEN_ID: Final = 2**31 - 1
LARGEST_REPETITION_PENALTY: Final = 10
_OF_RAW = "of raw models, as vLLM has it; "


def _stop_sequences(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_STOP = {"type": "string", "minLength": 1, "maxLength": 256}
Stop = Annotated[
    Annotated[tuple[Annotated[Text, Field(min_length=1, max_length=256)], ...], Field(max_length=4)] | None,
    BeforeValidator(_stop_sequences),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "maxItems": 4, "items": _STOP}, {"type": "null"}]}),
]
Temperature = Annotated[Number | None, Field(ge=0, le=2, description="by default 0 for rag and 1 for a raw model")]
TopP = Annotated[Number | None, Field(ge=0, le=1)]
TopK = Annotated[
    Whole | None,
    Field(
        ge=-1,
        le=LARGEST_TOP_K,
        description="with rag: passages to use, by default 8, at most 50. With a raw model: each token is one of so "
        "many, the likeliest; 0 or -1: of all",
    ),
]
_StopTokens = Annotated[
    tuple[Annotated[Whole, Field(ge=0, le=LARGEST_TOKEN_ID)], ...], Field(max_length=MAX_STOP_TOKENS)
]


class StreamOptions(ForeignRequest):
    include_usage: bool | None = Field(None, description="a last chunk, without choices, has the usage")
    continuous_usage_stats: bool | None = Field(
        None, description="of raw models; with include_usage each chunk with text has the usage so far"
    )
    include_obfuscation: Annotated[Any, Field(description="has no effect")] = None


class SamplingFields(ForeignRequest):
    temperature: Temperature = None
    top_p: TopP = None
    presence_penalty: Number | None = Field(None, ge=-2, le=2)
    frequency_penalty: Number | None = Field(None, ge=-2, le=2)
    stop: Stop = Field(None, description="the answer ends before the first of these")
    seed: Seed = None

    def of_query(self) -> Mapping[str, Any]:
        """Fields of a Query; `temperature` is not among them."""
        return {
            "seed": self.seed,
            "stop": self.stop or (),
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
        }


class RawSamplingFields(SamplingFields):
    """The defaults of vLLM's change nothing."""

    min_p: Number | None = Field(
        None, ge=0, le=1, description=f"{_OF_RAW}tokens less likely than this part of the likeliest one are left out"
    )
    repetition_penalty: Number | None = Field(
        None,
        gt=0,
        le=LARGEST_REPETITION_PENALTY,
        description=f"{_OF_RAW}above 1: tokens that were there are less likely",
    )
    min_tokens: Whole | None = Field(
        None, ge=0, description=f"{_OF_RAW}nothing ends the answer before it has so many tokens"
    )
    ignore_eos: bool | None = Field(None, description=f"{_OF_RAW}the model cannot end the answer itself")
    stop_token_ids: _StopTokens | None = Field(
        None, description=f"{_OF_RAW}the answer ends at the first of these tokens"
    )

    def sampling(self, top_k: int | None, options: StreamOptions | None, max_tokens: int) -> Sampling:
        """For a raw model's answer of at most `max_tokens`. Raises InvalidRequest."""
        if (self.min_tokens or 0) > max_tokens:
            raise InvalidRequest(
                f"min_tokens: is {self.min_tokens}, and the answer has at most {max_tokens} tokens; send fewer",
                field="min_tokens",
            )
        given = {name: value for name in _OF_VLLM if (value := getattr(self, name)) is not None}
        counted = options is not None and bool(options.include_usage and options.continuous_usage_stats)
        return Sampling(top_k=max(top_k or 0, 0), counted=counted, **given)

    def refuse_raw_sampling(self, model: str, options: StreamOptions | None) -> None:
        """For `model`, which does not take vLLM's fields. Raises InvalidRequest for one that would change something."""
        neutral = Sampling()
        refused = [name for name in _OF_VLLM if getattr(self, name) not in (None, getattr(neutral, name))]
        if options is not None and options.continuous_usage_stats:
            refused.append("stream_options.continuous_usage_stats")
        for name in refused:
            raise InvalidRequest(f"{name}: only raw models take it, and {model} is none; leave it out", field=name)


_OF_VLLM = tuple(name for name in RawSamplingFields.model_fields if name not in SamplingFields.model_fields)
