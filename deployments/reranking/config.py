"""Configuration of the reranking stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deployments.config import Config
from deployments.inference.bundled import MINILM
from deployments.types import Language


class RerankingConfig(Config):
    backend: Literal["cross_encoder", "late_interaction", "fake"] = "late_interaction"
    model: str = Field(MINILM, min_length=1, description="the bundled model's name, a hub id, or a local folder")
    revision: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    languages: tuple[str, ...] = Field(
        ("en",), description="languages the model knows; in others it moves the fused order less. Empty: any language"
    )
    weight: float = Field(
        0.3, ge=0, le=1, description="share of the reranker in the final score where it knows the language"
    )
    weight_other: float = Field(0.0, ge=0, le=1, description="the same where it does not; at 0 it reads nothing")
    max_candidates: int = Field(
        20, ge=1, description="candidates scored in one call; the rest keep their fused order behind them"
    )
    max_query_characters: int = Field(8_000, ge=1, description="length of one query")
    max_text_characters: int = Field(100_000, ge=1, description="length of one passage with its title")
    batch_size: int = Field(32, ge=1, le=1024, description="texts in one forward pass, of whichever questions")
    batch_tokens: int = Field(
        512, ge=1, description="tokens in one forward pass, padding included; a text that has more has one alone"
    )
    max_waiting: int = Field(
        4_096,
        ge=0,
        description="texts, or windows of long ones, that may wait; a call that finds more is refused (503)",
    )
    threads: int = Field(0, ge=0, description="CPU threads of one replica; 0 leaves torch's default")

    def weight_for(self, language: Language) -> float:
        """The reranker's share in the final score of passages for a question in this language."""
        return self.weight if not self.languages or language in self.languages else self.weight_other
