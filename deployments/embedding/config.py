"""Configuration of the embedding stage."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from deployments.config import Config
from deployments.inference.bundled import E5, MINILM


class EmbeddingConfig(Config):
    backend: Literal["sentence_transformers", "fake"] = "sentence_transformers"
    model: str = Field(E5, min_length=1, description="a bundled model's name, a hub id, or a local folder")
    revision: str | None = Field(None, description="the hub revision to pin; None takes the newest in the cache")
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on GPUs and on CPUs that multiply it themselves, else float32"
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="what computes; auto: OpenVINO in float32 on CPUs if it can read the model, else torch"
    )
    query_prompt: str | None = Field(
        None, description="prefix for questions; None takes what the model's own config names"
    )
    passage_prompt: str | None = Field(
        None, description="prefix for passages; None takes what the model's own config names"
    )
    languages: tuple[str, ...] | None = Field(
        None,
        description="languages the model knows; for others lexical candidates lead. Empty: any language. "
        f"None: English for {MINILM}, any for other models",
    )
    batch_size: int = Field(32, ge=1, le=1024, description="texts in one forward pass, of whichever callers")
    batch_tokens: int = Field(
        1_024, ge=1, description="tokens in one forward pass, padding included; a text that has more has one alone"
    )
    max_waiting: int = Field(
        4_096,
        ge=0,
        description="texts, or windows of long ones, that may wait; a call that finds more is refused (503)",
    )
    max_texts: int = Field(512, ge=1, description="texts in one call")
    max_text_characters: int = Field(100_000, ge=1, description="length of one text")
    threads: int = Field(0, ge=0, description="CPU threads of one replica; 0 leaves torch's default")

    @property
    def known_languages(self) -> tuple[str, ...]:
        """The languages that the model knows; empty for any."""
        if self.languages is not None:
            return self.languages
        return ("en",) if self.model.rpartition("/")[2] == MINILM else ()

    @model_validator(mode="after")
    def _openvino_is_for_float32_on_cpus(self) -> Self:
        if self.runtime == "openvino" and (self.device != "cpu" or self.dtype not in ("auto", "float32")):
            raise ValueError(
                "runtime: openvino computes in float32 on the CPU, but "
                f"device is {self.device} and dtype {self.dtype}; leave them out, or set runtime to auto"
            )
        return self
