"""The generation stage on vLLM, inside `ray.serve.llm`.

LLMServer owns the engine, its arguments and its placement. Text deltas come straight from the engine's client, without
LLMServer's OpenAI layer and response batcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from deployments.errors import InvalidRequest, Overloaded, StageUnavailable
from deployments.generation.active_queries import ActiveQueries
from deployments.generation.adapters import Adapters
from deployments.generation.channel import Address, Outbox
from deployments.generation.coalescing import pause_s
from deployments.generation.config import GenerationConfig
from deployments.generation.engine_times import trace_engine_times
from deployments.generation.engine_watch import EngineWatch
from deployments.generation.finish_reasons import finish_reason
from deployments.generation.prompts import Prompts
from deployments.replica import replica_id
from deployments.stage_times import StageTimes, note_wait
from deployments.startup import gc_paused
from deployments.telemetry import spans, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import begin_call
from deployments.types import GenerationLoad, GenerationRequest, Message, StageStatus, TextDelta, Usage

with gc_paused():  # saves a fifth of the time that these imports take
    from ray import serve
    from ray.serve import Application
    from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.inputs.engine import tokens_input
    from vllm.renderers.params import ChatParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    from deployments.generation.vllm_tools import PlainText, ToolCalling

STRUCTURED_OUTPUTS = {"backend": "xgrammar"}
"""By default vLLM chooses by the first request's schema what holds all later answers to theirs."""

SMALLEST_TOP_P = 1e-6
"""Stands for 0, which vLLM refuses. Callers mean by it: always the most likely token."""

WARM_UP = GenerationRequest(
    query_id="warm-up",
    tenant_id="warm-up",
    language="en",
    question="",
    messages=(Message("user", "Hello."),),
    passages=(),
    max_tokens=2,
)
SAMPLED = replace(WARM_UP, temperature=1.0, top_p=0.9)
_SAMPLED_TOGETHER = 8
"""Answers sampled without a seed for which vLLM compiles all that it does for more than one.

On CPU it compiles once for two or more. On GPUs it compiles for eight or more, and nothing for two to seven.
"""


def build(
    config: GenerationConfig,
    serve_options: Mapping[str, Any],
    recorder: Recorder = NO_RECORDER,
    telemetry: TelemetryConfig | None = None,
) -> Application:
    """The generation deployment, ready to bind. Needs an initialised Ray.

    `serve_options` are Serve's options that scale it (num_replicas, autoscaling_config, max_ongoing_requests, …).
    Resources come from `config`. Raises ValueError for `ray_actor_options`, which would replace those that LLMServer
    needs.
    """
    if "ray_actor_options" in serve_options:
        raise ValueError("generation: ray_actor_options is refused; set cpus, accelerator_type or tensor_parallel_size")
    # Often, because three checks must fail before a replica whose engine died is replaced. A check only reads a flag.
    options = {"name": "generation", "health_check_period_s": 1, **serve_options}
    if "autoscaling_config" not in options:
        # Otherwise ray.serve.llm switches autoscaling on, with one replica at most, and ignores num_replicas.
        options.setdefault("num_replicas", 1)
    return build_llm_deployment(
        llm_config(config),
        deployment_cls=VllmGeneration,
        bind_kwargs={"config": config, "recorder": recorder, "telemetry": telemetry},
        override_serve_options=options,
    )


def llm_config(config: GenerationConfig) -> LLMConfig:
    """Our configuration as that of `ray.serve.llm`."""
    # By default vLLM reports its usage to its makers.
    env_vars = {"VLLM_NO_USAGE_STATS": "1"}
    if config.local_files_only:
        env_vars["HF_HUB_OFFLINE"] = "1"

    engine_kwargs = {
        **config.engine_kwargs,
        "structured_outputs_config": STRUCTURED_OUTPUTS | (config.engine_kwargs.get("structured_outputs_config") or {}),
        "tensor_parallel_size": config.tensor_parallel_size,
        "max_model_len": config.context_tokens,
        "max_num_seqs": config.max_num_seqs,
    }
    if config.revision is not None:
        engine_kwargs |= {"revision": config.revision, "tokenizer_revision": config.revision}

    hardware: dict[str, Any]
    if config.accelerator == "cpu":
        env_vars["VLLM_CPU_KVCACHE_SPACE"] = str(config.cpu_kv_cache_gb)
        engine_kwargs["distributed_executor_backend"] = "mp"
        # The engine's processes are the replica's children, not Ray workers: one bundle holds the whole replica.
        hardware = {
            "accelerator_config": {"kind": "cpu"},
            "placement_group_config": {"bundles": [{"CPU": config.cpus}]},
            "deployment_config": {"ray_actor_options": {"num_cpus": 0}},
        }
    else:
        engine_kwargs["gpu_memory_utilization"] = config.gpu_memory_utilization
        hardware = {
            "accelerator_config": {"kind": "gpu"},
            "accelerator_type": config.accelerator_type,
            "placement_group_config": {
                "bundle_per_worker": {"GPU": 1},
                "strategy": "STRICT_PACK" if config.one_node else "PACK",
            },
            "deployment_config": {"ray_actor_options": {"num_cpus": config.cpus}},
        }

    lora = dict(config.lora) if config.lora is not None else None
    parsed = LLMConfig(
        model_loading_config={"model_id": config.model, "model_source": config.model},
        engine_kwargs=engine_kwargs,
        lora_config=lora,
        runtime_env={"env_vars": env_vars},
        **hardware,
    )
    if parsed.lora_config is not None:
        parsed.update_engine_kwargs(enable_lora=True, max_loras=parsed.lora_config.max_num_adapters_per_replica)
    return parsed


@dataclass(slots=True)
class SchedulerReport:
    """The engine's running and waiting requests. vLLM calls it as one of its stat loggers."""

    on_step: Callable[[], None]
    running: int = 0
    waiting: int = 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        self.on_step()
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs

    def log(self) -> None: ...

    def log_engine_initialized(self) -> None: ...

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None: ...


class VllmGeneration(LLMServer):
    """The generation stage on vLLM. Same methods as `deployment.Generation`."""

    # LLMServer's constructor is a coroutine, and Serve awaits it.
    async def __init__(  # type: ignore[misc]
        self,
        llm_config: LLMConfig,
        config: GenerationConfig,
        recorder: Recorder = NO_RECORDER,
        telemetry: TelemetryConfig | None = None,
        **kwargs: Any,
    ) -> None:
        tracing.start(telemetry, "generation", replica=replica_id())
        self._config = config
        self._times = StageTimes("generation", recorder)
        self._queries = ActiveQueries(config)
        self._outbox = Outbox()
        if config.accelerator == "cpu" and "://" not in config.model:
            # LLMServer would first find the model's files in a task on the node. That starts a process and imports
            # everything once more, which takes six seconds. On one node vLLM finds or downloads the files itself.
            llm_config.get_or_create_callback().ctx.run_init_node = False
        await super().__init__(llm_config, **kwargs)
        self._client = self.engine._engine_client
        self._watch = EngineWatch(self._client.is_sleeping, config.hung_s)
        self._scheduler = SchedulerReport(self._watch.heard)
        self._client.logger_manager.stat_loggers.append(self._scheduler)
        tokenizer = self._client.renderer.get_tokenizer()
        self._prompts = await asyncio.to_thread(Prompts, config, tokenizer, self._apply_template)
        self._adapters = Adapters(self._load_adapter)
        self._tool_calling = ToolCalling(config.tool_call_parser, tokenizer)
        await self._warm_up()
        if self._llm_config.lora_config is not None:
            fitting = self._llm_config.lora_config.max_num_adapters_per_replica
            await self._adapters.preload(config.adapters[:fitting])

    async def _warm_up(self) -> None:
        """Have vLLM compile what it compiles on first use: on CPU that takes up to a minute."""
        count = min(_SAMPLED_TOGETHER, self._config.max_num_seqs)
        sampled_together = [replace(SAMPLED, query_id=f"warm-up-{number}") for number in range(count)]
        for batch in ([WARM_UP], [SAMPLED], sampled_together):
            await asyncio.gather(*map(self._answer, batch))

    async def _answer(self, request: GenerationRequest) -> None:
        async with aclosing(self.generate(request)) as deltas:
            async for _ in deltas:
                pass

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Stream the answer; see `base.Engine`. Raises Overloaded, PromptTooLong, InvalidRequest, StageUnavailable."""
        if len(self._queries) >= self._config.max_num_seqs + self._config.max_waiting:
            raise Overloaded("generation: the engine's queue is full; try again later or raise generation.max_waiting")
        with self._queries.enter(request) as query:
            prompt = [] if query.cancelled else await self._encode(request)
            if query.cancelled:
                yield TextDelta("", "cancelled", Usage(len(prompt)))
                return

            written = self._tool_calling.answer(request.sampling, request.tools, prompt)
            completion_tokens = cached_tokens = 0
            finished = False
            try:
                outputs = self._client.generate(
                    tokens_input(prompt, cache_salt=request.tenant_id),
                    self._sampling(request, len(prompt), written),
                    _engine_id(request.tenant_id, request.query_id),
                    lora_request=await self._lora(),
                    trace_headers=tracing.headers() or None,
                )
                async with aclosing(outputs):
                    async for output in outputs:
                        if not completion_tokens:
                            note_wait(_scheduled_after_s(output), shared=False)
                        answer = output.outputs[0]
                        completion_tokens += len(answer.token_ids)
                        cached_tokens = max(cached_tokens, output.num_cached_tokens or 0)
                        finished = output.finished
                        if finished and self._watch.is_hung:
                            raise StageUnavailable("generation: the vLLM engine hangs; its replica is being replaced")
                        usage = Usage(len(prompt), completion_tokens, cached_tokens)
                        text, calls = written.read(answer.text, answer.token_ids, finished=finished)
                        if finished or query.cancelled:
                            trace_engine_times(output.metrics)
                            reason = "abort" if query.cancelled else answer.finish_reason
                            yield TextDelta(text, finish_reason(reason), usage, tool_calls=calls)
                            return
                        if text or calls:
                            so_far = usage if request.sampling.counted else None
                            yield TextDelta(text, usage=so_far, tool_calls=calls)
                            # vLLM's client joins what comes during the pause into one output.
                            await asyncio.sleep(pause_s(self._config, len(self._queries)))
            except EngineDeadError:
                raise StageUnavailable("generation: the vLLM engine died; its replica is being replaced") from None
            except EngineGenerateError as error:
                raise StageUnavailable(
                    "generation: vLLM failed on this request; try again", internal=str(error.__cause__)
                ) from None
            except VLLMClientError as error:
                raise InvalidRequest(f"generation: vLLM refused the request: {error}") from None
            finally:
                # The client's own clean-up misses a cancellation while the request is being handed over.
                if not finished:
                    await self._abort(request.tenant_id, request.query_id)

    async def send(self, request: GenerationRequest, to: Address) -> None:
        """`generate`, with the deltas sent to the ingress at `to`. Returns when the answer has ended."""
        span = begin_call(spans.CHAT, request.trace)
        with tracing.CurrentSpan(span), self._times.first_text(self.generate(request)) as answer:
            await self._outbox.send(answer, to, lambda: self.abort(request.tenant_id, request.query_id))

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        is_here = self._queries.abort(tenant_id, query_id)
        if is_here:
            await self._abort(tenant_id, query_id)
        return is_here

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._prompts.count_tokens(texts)

    async def load(self) -> GenerationLoad:
        """`running + waiting` is 0 only if no request is left here, in the engine's front end and in its scheduler."""
        in_front_end = {state.external_req_id for state in self._client.output_processor.request_states.values()}
        requests = in_front_end | {_engine_id(query.tenant_id, query.query_id) for query in self._queries}
        running = self._scheduler.running
        return GenerationLoad(running, max(self._scheduler.waiting, len(requests) - running))

    async def status(self) -> StageStatus:
        return StageStatus(ready=not self._client.errored, engine="vllm", model=self._config.model)

    async def check_health(self) -> None:
        """LLMServer's, which asks vLLM for a flag, and whether the engine moves on. Serve replaces the replica if not.

        Answers of an engine that hangs end at once: a replica that stops waits for its answers, and its successor may
        wait for its GPU.
        """
        await super().check_health()
        try:
            self._watch.check()
        except StageUnavailable:
            for query in [*self._queries]:
                await self._abort(query.tenant_id, query.query_id)
            raise

    async def __del__(self) -> None:
        """Serve awaits this after the replica's last request, before it ends the process."""
        try:
            await super().__del__()
        finally:
            if (last_spans := tracing.end_of_replica()) is not None:
                await last_spans

    async def _apply_template(self, messages: list[dict[str, Any]], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `prompts.ApplyTemplate`. Raises InvalidRequest if the template refuses the messages."""
        try:
            _, prompt = await self._client.renderer.render_messages_async(
                messages, ChatParams(chat_template_kwargs=dict(arguments))
            )
        except (VLLMClientError, ValueError) as error:
            raise InvalidRequest(f"messages do not fit the chat template of {self._config.model}: {error}") from None
        rendered: Mapping[str, Any] = prompt
        return rendered

    async def _encode(self, request: GenerationRequest) -> list[int]:
        if request.continued:
            return await self._prompts.encode_text(request.continued)
        return await self._prompts.encode(request.messages, request.tools)

    def _sampling(self, request: GenerationRequest, prompt_tokens: int, written: PlainText) -> SamplingParams:
        chosen = request.sampling
        max_tokens = min(request.max_tokens, self._config.context_tokens - prompt_tokens)
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            stop=list(request.stop),
            top_p=max(request.top_p, SMALLEST_TOP_P),
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            top_k=chosen.top_k,
            min_p=chosen.min_p,
            repetition_penalty=chosen.repetition_penalty,
            min_tokens=min(chosen.min_tokens, max_tokens),
            ignore_eos=chosen.ignore_eos,
            stop_token_ids=list(chosen.stop_token_ids),
            structured_outputs=written.structure,
            skip_special_tokens=written.skips_special_tokens,
            output_kind=RequestOutputKind.DELTA,
        )

    async def _lora(self) -> Any:
        """The LoRA adapter that the caller named by Serve's multiplexed model id, or None."""
        adapter_id = serve.get_multiplexed_model_id()
        if not adapter_id:
            return None
        await self._adapters.load(adapter_id)
        return self.engine._oai_models.lora_requests[adapter_id]

    async def _load_adapter(self, adapter_id: str) -> None:
        await self.engine.resolve_lora(await self._load_model(adapter_id))

    async def _abort(self, tenant_id: str, query_id: str) -> None:
        """End the query in the engine, even if the caller is cancelled meanwhile."""
        await asyncio.shield(self._client.abort(_engine_id(tenant_id, query_id)))


def _scheduled_after_s(output: Any) -> float:
    """How long a request waited in the engine. 0 where the engine keeps no times."""
    times = output.metrics
    return max(0.0, times.scheduled_ts - times.queued_ts) if times is not None else 0.0


def _engine_id(tenant_id: str, query_id: str) -> str:
    """The request id inside vLLM. It holds the tenant, so that an abort by id can never reach another's query."""
    return f"{tenant_id}/{query_id}"
