"""Configuration of the reranking stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deployments.config import Beyond, Config, Unit
from deployments.inference.bundled import MINILM
from deployments.types import Language


class RerankingConfig(Config):
    """How the best candidates are reordered. Counts are per replica."""

    backend: Literal["cross_encoder", "late_interaction", "fake"] = Field(
        "late_interaction",
        description="`cross_encoder`: reads question and passage together; `late_interaction`: compares token vectors; "
        "`fake`: for tests",
    )
    model: str = Field(MINILM, min_length=1, description="a bundled model's name, a hub id, or a local folder")
    revision: str | None = Field(None, description="revision on the hub; none: the newest one in the local cache")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the model runs")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="precision")
    languages: tuple[str, ...] = Field(
        ("en",),
        description="languages that the model knows: `weight` applies to them, `weight_other` to others. Empty: any",
    )
    weight: float = Field(
        0.3, ge=0, le=1, description="weight of the reranker in the final score where it knows the language"
    )
    weight_other: float = Field(
        0.0, ge=0, le=1, description="the same where it does not know it; at 0 the stage is not called"
    )
    max_candidates: Annotated[int, Unit("passages"), Beyond("the others follow in their fused order")] = Field(
        20, ge=1, description="candidates that are scored"
    )
    max_query_characters: Annotated[int, Beyond("the call is refused")] = Field(
        8_000, ge=1, description="length of one query"
    )
    max_text_characters: Annotated[int, Beyond("the call is refused")] = Field(
        100_000, ge=1, description="length of one passage with its title"
    )
    batch_size: Annotated[int, Unit("texts")] = Field(32, ge=1, le=1024, description="most texts in one forward pass")
    batch_tokens: int = Field(
        512, ge=1, description="most tokens in one forward pass, padding included; a longer text gets a pass of its own"
    )
    max_waiting: Annotated[
        int, Unit("texts"), Beyond("the fused order stays, and `degraded` says so; 503 from `/v1/rerank`")
    ] = Field(4_096, ge=0, description="texts, or windows of long texts, that wait when a call arrives")
    threads: int = Field(0, ge=0, description="CPU threads of one replica; 0: torch's default")

    def weight_for(self, language: Language) -> float:
        """The reranker's share in the final score of passages for a question in this language."""
        return self.weight if not self.languages or language in self.languages else self.weight_other
