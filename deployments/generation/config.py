"""Configuration of the generation stage."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from deployments.config import Config

OWNED_ENGINE_ARGUMENTS = {
    "model": "model",
    "served_model_name": "model",
    "tokenizer": "model",
    "revision": "revision",
    "tokenizer_revision": "revision",
    "tensor_parallel_size": "tensor_parallel_size",
    "max_model_len": "context_tokens",
    "max_num_seqs": "max_num_seqs",
    "max_num_queued_reqs": "max_waiting",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "enable_lora": "lora",
    "max_loras": "lora",
    "distributed_executor_backend": "accelerator",
    "device": "accelerator",
}
"""vLLM's name of what a field of ours decides → that field."""


class GenerationConfig(Config):
    engine: Literal["vllm", "extractive", "fake", "auto"] = Field(
        "auto",
        description="auto (embedded default only): vllm if the model's weights are in the local cache, else extractive",
    )
    model: str = Field("Qwen/Qwen3-0.6B", description="a hub id or a local folder")
    revision: str | None = None
    local_files_only: bool = Field(False, description="never ask the hub; what engine auto resolves to sets it")
    accelerator: Literal["cpu", "gpu"] = "cpu"
    accelerator_type: str | None = Field(None, description="Ray's name of the GPU type, e.g. H100")
    tensor_parallel_size: int = Field(1, ge=1, le=64)
    context_tokens: int = Field(16_384, ge=512, description="prompt and answer together; vLLM's max_model_len")
    max_num_seqs: int = Field(64, ge=1, description="answers generated at once by one replica; more wait in the engine")
    max_waiting: int = Field(128, ge=0, description="requests that may wait in one replica's engine; beyond it 503")
    coalesce_ms: float = Field(
        25.0, ge=0, description="longest that text waits for more while several answers are generated; 0: never"
    )
    pieces_per_s: float = Field(
        400.0, gt=0, description="pieces of text that one replica sends a second before text waits for more"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_kv_cache_gb: int = Field(1, ge=1, description="vLLM's KV cache on CPU")
    cpus: float = Field(1, gt=0, description="logical CPUs of one replica")
    lora: dict[str, Any] | None = Field(None, description="ray.serve.llm LoraConfig fields; None switches LoRA off")
    adapters: tuple[str, ...] = Field(
        (), description="LoRA adapters that a tenant's settings may choose, beside the model itself"
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=lambda: {"enable_thinking": False},
        description="variables of the model's chat template; a template that does not know one ignores it",
    )
    engine_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="further vLLM engine arguments; those named above are refused here"
    )
    max_words: int = Field(120, ge=10, le=1_000, description="words that the extractive engine may quote")
    max_sentences: int = Field(8, ge=1, le=50, description="sentences and list items that it may quote")
    max_candidates: int = Field(
        48, ge=1, le=512, description="sentences that it compares with the question; their vectors take its time"
    )
    similarity_s: float = Field(
        5.0, gt=0, description="how long it waits for these vectors; late or down, it goes by terms alone"
    )
    sure_from: float = Field(
        0.46, ge=0, le=1, description="confidence below which it says that it is not sure (finish reason no_answer)"
    )
    tombstone_s: float = Field(30.0, gt=0, description="how long an abort that came before its request is remembered")
    max_tombstones: int = Field(10_000, ge=1)
    fake_delay_ms: float = Field(0.0, ge=0, description="the fake engine's time per token")

    @field_validator("engine_kwargs")
    @classmethod
    def _refuse_owned(cls, engine_kwargs: dict[str, Any]) -> dict[str, Any]:
        for argument, field in OWNED_ENGINE_ARGUMENTS.items():
            if argument in engine_kwargs:
                raise ValueError(f"{argument!r} is refused here: set generation.{field}")
        if engine_kwargs.get("disable_log_stats"):
            raise ValueError("'disable_log_stats' is refused: a replica's load is read from the engine's statistics")
        return engine_kwargs

    @model_validator(mode="after")
    def _hardware_fits(self) -> Self:
        if self.accelerator == "cpu" and self.accelerator_type is not None:
            raise ValueError("generation.accelerator_type needs accelerator: gpu")
        if self.adapters and self.lora is None:
            raise ValueError("generation.adapters needs generation.lora, which says where they are loaded from")
        return self
