"""Stops a vLLM engine's core within an answer and lets it go on, with `EngineWatch` at work as in a replica.

`python -m tests.support.stopped_engine MODEL RESULT HUNG_S` writes what was found as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import psutil
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.errors import StageUnavailable
from deployments.generation import engine_watch
from deployments.generation.engine_watch import EngineWatch
from deployments.generation.vllm import SchedulerReport

CHECK_S, BOUND_S = 0.5, 300.0


async def main(model: str, hung_s: float) -> dict[str, float | bool]:
    client = AsyncLLM.from_engine_args(
        AsyncEngineArgs(model=model, max_model_len=2048, enforce_eager=True, distributed_executor_backend="uni")
    )
    engine_watch.ASK_AFTER_S = 2.0
    watch = EngineWatch(client.is_sleeping, hung_s)
    client.logger_manager.stat_loggers.append(SchedulerReport(watch.heard))
    found: dict[str, float | bool] = {}

    async def generate(max_tokens: int) -> None:
        sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        async for _ in client.generate("Koji je rok?", sampling, f"{time.monotonic()}"):
            pass

    async def healthy_for(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            watch.check()
            await asyncio.sleep(CHECK_S)
        return True

    try:
        await generate(4)
        found["idle_is_healthy"] = await healthy_for(2 * engine_watch.ASK_AFTER_S + 2)
        answering = asyncio.create_task(generate(2_000))
        found["busy_is_healthy"] = await healthy_for(1)
        cores = psutil.Process().children(recursive=True)
        for core in cores:
            core.send_signal(signal.SIGSTOP)
        stopped, hung = time.monotonic(), False
        while not hung and time.monotonic() - stopped < BOUND_S:
            try:
                watch.check()
            except StageUnavailable:
                hung = True
                found["hung_after_s"] = time.monotonic() - stopped
            await asyncio.sleep(CHECK_S)
        for core in cores:
            core.send_signal(signal.SIGCONT)
        async with asyncio.timeout(BOUND_S):
            while watch.is_hung:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(CHECK_S)
        found["healthy_again"] = await healthy_for(1)
        answering.cancel()
    finally:
        client.shutdown()
    return found


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(main(sys.argv[1], float(sys.argv[3])))))
