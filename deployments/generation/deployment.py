"""The generation stage as a deployment, for all engines but vLLM. `vllm.py` has the same methods for vLLM."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from deployments.errors import StageUnavailable
from deployments.generation import base
from deployments.generation.channel import Address, Outbox
from deployments.generation.coalescing import coalesced, pause_s
from deployments.generation.config import GenerationConfig
from deployments.replica import replica_id
from deployments.stage_times import StageTimes
from deployments.telemetry import spans, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import begin_call
from deployments.types import GenerationLoad, GenerationRequest, StageStatus, TextDelta


class Generation:
    """One engine. Errors are those of `base.Engine`."""

    def __init__(
        self,
        config: GenerationConfig,
        scorer: base.SentenceScorer | None = None,
        recorder: Recorder = NO_RECORDER,
        telemetry: TelemetryConfig | None = None,
    ) -> None:
        tracing.start(telemetry, "generation", replica=replica_id())
        self._config = config
        self._times = StageTimes("generation", recorder)
        self._engine = base.create(config, scorer)
        self._active_answers = 0
        self._outbox = Outbox()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Stream the answer; closing this stream closes the engine's."""
        self._active_answers += 1
        try:
            async with aclosing(coalesced(self._engine.generate(request), self._pause_s)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._active_answers -= 1

    async def send(self, request: GenerationRequest, to: Address) -> None:
        """`generate`, with the deltas sent to the ingress at `to`. Returns when the answer has ended."""
        span = begin_call(spans.CHAT, request.trace)
        with tracing.CurrentSpan(span), self._times.first_text(self.generate(request)) as answer:
            await self._outbox.send(answer, to, lambda: self.abort(request.tenant_id, request.query_id))

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        return await self._engine.abort(tenant_id, query_id)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._engine.count_tokens(texts)

    async def load(self) -> GenerationLoad:
        return await self._engine.load()

    async def status(self) -> StageStatus:
        return await self._engine.status()

    async def check_health(self) -> None:
        """Raises StageUnavailable when the engine can no longer answer; Serve then replaces the replica."""
        status = await self._engine.status()
        if not status.ready:
            raise StageUnavailable(f"generation: the {status.engine} engine is not ready: {status.detail}")

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Serve calls this after the replica's last request, before it ends the process."""
        return tracing.end_of_replica()

    def _pause_s(self) -> float:
        return pause_s(self._config, self._active_answers)
