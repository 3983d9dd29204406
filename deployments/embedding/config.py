"""Configuration of the embedding stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config import Beyond, Config, Unit
from deployments.inference.bundled import E5, MINILM


class EmbeddingConfig(Config):
    """How texts become vectors. Counts are per replica."""

    backend: Literal["sentence_transformers", "fake"] = Field(
        "sentence_transformers", description="what computes vectors; `fake`: vectors without a model, for tests"
    )
    model: str = Field(E5, min_length=1, description="a bundled model's name, a hub id, or a local folder")
    revision: str | None = Field(None, description="revision on the hub; none: the newest one in the local cache")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the model runs")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="precision; `auto`: bfloat16 on GPUs and on CPUs with bfloat16 instructions, else float32"
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="what computes; `auto`: OpenVINO on CPUs if it can convert the model, else torch",
    )
    int8_weights: bool = Field(
        True, description="on CPUs, by OpenVINO: whether the model's weights are in eight bits, which is faster"
    )
    query_prompt: str | None = Field(
        None, description="prefix of questions; none: the one that the model's own configuration names"
    )
    passage_prompt: str | None = Field(
        None, description="prefix of passages; none: the one that the model's own configuration names"
    )
    languages: tuple[str, ...] | None = Field(
        None,
        description="languages that the model knows; in others lexical search leads. Empty: any language. "
        f"None: English for `{MINILM}`, any language for other models",
    )
    batch_size: Annotated[int, Unit("texts")] = Field(32, ge=1, le=1024, description="most texts in one forward pass")
    batch_tokens: int = Field(
        1_024,
        ge=1,
        description="most tokens in one forward pass, padding included; a longer text gets a pass of its own",
    )
    max_waiting: Annotated[int, Unit("texts"), Beyond("503")] = Field(
        4_096,
        ge=0,
        description="texts, or windows of long texts, that wait when a call arrives; questions and passages are "
        "counted apart",
    )
    max_texts: Annotated[int, Beyond("the call is refused")] = Field(
        512, ge=1, description="texts in one call to the stage; the service itself sends fewer"
    )
    max_text_characters: Annotated[int, Beyond("the call is refused")] = Field(
        100_000, ge=1, description="length of one text"
    )
    threads: int = Field(0, ge=0, description="CPU threads of one replica; 0: torch's default")

    @property
    def known_languages(self) -> tuple[str, ...]:
        """The languages that the model knows; empty for any."""
        if self.languages is not None:
            return self.languages
        return ("en",) if self.model.rpartition("/")[2] == MINILM else ()

    @model_validator(mode="after")
    def _openvino_is_for_cpus(self) -> Self:
        if self.runtime == "openvino" and (self.device != "cpu" or self.dtype == "float16"):
            raise ValueError(
                "runtime: openvino computes in float32 or bfloat16 on the CPU, but "
                f"device is {self.device} and dtype {self.dtype}; leave them out, or set runtime to auto"
            )
        return self
