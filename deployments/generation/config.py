"""Configuration of the generation stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from deployments.config import Beyond, Config, Unit

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
    "tool_call_parser": "tool_call_parser",
}
"""vLLM's name of what a field of ours decides → that field."""


class GenerationConfig(Config):
    """What writes answers: a model in vLLM, or the extractive engine, which quotes sentences of the passages."""

    engine: Literal["vllm", "extractive", "fake", "auto"] = Field(
        "auto",
        description="`auto` (one machine only): `vllm` if the model is in the local cache, else `extractive`",
    )
    model: str = Field("Qwen/Qwen3-0.6B", description="a hub id or a local folder")
    revision: str | None = Field(None, description="revision on the hub; none: the newest one")
    local_files_only: bool = Field(False, description="never ask the hub; `engine: auto` sets it")
    accelerator: Literal["cpu", "gpu"] = Field("cpu", description="where the engine runs")
    accelerator_type: str | None = Field(None, description="Ray's name of the GPU type, for example `H100`")
    tensor_parallel_size: Annotated[int, Unit("GPUs")] = Field(1, ge=1, le=64, description="GPUs of one replica")
    one_node: bool = Field(
        True,
        description="all GPUs of a replica are on one node; `false`: on several where none has enough free ones, with "
        "the network between them",
    )
    context_tokens: int = Field(
        16_384, ge=512, description="length of prompt and answer together; vLLM's `max_model_len`"
    )
    max_num_seqs: Annotated[int, Unit("answers"), Beyond("they wait in the engine")] = Field(
        64, ge=1, description="answers that one replica generates at the same time"
    )
    max_waiting: Annotated[int, Unit("answers"), Beyond("503")] = Field(
        128, ge=0, description="answers that wait in one replica's engine"
    )
    coalesce_ms: float = Field(
        25.0, ge=0, description="longest time that text is held back to send it in larger pieces under load; 0: never"
    )
    pieces_per_s: Annotated[float, Unit("pieces a second"), Beyond("text is sent in larger pieces")] = Field(
        400.0, gt=0, description="pieces of text that one replica sends"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of GPU memory that vLLM takes")
    cpu_kv_cache_gb: int = Field(1, ge=1, description="memory of vLLM's KV cache on CPUs")
    cpus: Annotated[float, Unit("CPUs")] = Field(1, gt=0, description="CPUs that Ray reserves for one replica")
    lora: dict[str, Any] | None = Field(
        None, description="fields of `LoraConfig` of `ray.serve.llm`; none: LoRA is off"
    )
    adapters: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ...] = Field(
        (),
        description="LoRA adapters that a tenant's setting `model` may choose, beside the model itself: names of "
        "folders of `lora.dynamic_lora_loading_path`. A replica loads them when it starts",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=lambda: {"enable_thinking": False},
        description="variables of the model's chat template; unknown ones are ignored",
    )
    tool_call_parser: str | None = Field(
        None,
        description="vLLM's parser of the model's tool calls, for example `hermes`; without one `tool_choice` may be "
        "`required` or name a function, but not be `auto`",
    )
    engine_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="other engine arguments of vLLM; those that a setting here decides are refused",
    )
    max_words: int = Field(120, ge=10, le=1_000, description="extractive engine: most words of an answer")
    max_sentences: int = Field(
        8, ge=1, le=50, description="extractive engine: most sentences and list items of an answer"
    )
    max_candidates: Annotated[int, Unit("sentences")] = Field(
        48, ge=1, le=512, description="extractive engine: sentences that are embedded and compared with the question"
    )
    similarity_s: Annotated[float, Beyond("terms alone choose the sentences, and `degraded` says so")] = Field(
        5.0, gt=0, description="extractive engine: wait for these vectors"
    )
    sure_from: float = Field(
        0.45,
        ge=0,
        le=1,
        description="extractive engine: below this confidence it says that it is not sure (finish reason `no_answer`)",
    )
    hung_s: Annotated[float, Beyond("the replica is replaced, and its answers end with 503")] = Field(
        60.0, ge=10, description="vLLM: time in which the engine neither finishes a step nor answers a call"
    )
    tombstone_s: float = Field(
        30.0, gt=0, description="how long an abort is remembered that arrived before its request"
    )
    max_tombstones: Annotated[int, Unit("aborts")] = Field(
        10_000, ge=1, description="aborts that are remembered for requests that have not arrived"
    )
    fake_delay_ms: float = Field(0.0, ge=0, description="fake engine: time for each token")

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
        if self.adapters and not (self.lora or {}).get("dynamic_lora_loading_path"):
            raise ValueError(
                "generation.adapters needs generation.lora.dynamic_lora_loading_path, such as s3://bucket/lora"
            )
        if self.model in self.adapters:
            raise ValueError(f"generation.adapters: {self.model} is the model's own name; rename the adapter's folder")
        return self
