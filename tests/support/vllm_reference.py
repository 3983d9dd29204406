"""What vLLM says by itself: greedy answers of a plain `vllm.LLM`, in a process of its own.

A second engine in the test's process would fight over its memory and its event loop, so it comes and goes alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.generation.config import GenerationConfig
from deployments.types import Message


def greedy_answers(
    config: GenerationConfig, conversations: Sequence[Sequence[Message]], *, max_tokens: Sequence[int], log: Path
) -> list[dict[str, Any]]:
    """For each conversation `text`, `finish_reason`, `prompt_tokens` and `completion_tokens`, as vLLM alone has them.
    `max_tokens` are of the conversations' answers.

    Takes half a minute or more: the engine starts and stops. Its output goes to the file `log`.
    """
    job = {
        "engine": {
            "model": config.model,
            "max_model_len": config.context_tokens,
            "max_num_seqs": config.max_num_seqs,
            "distributed_executor_backend": "uni",
            **config.engine_kwargs,
        },
        "chat_template_kwargs": config.chat_template_kwargs,
        "conversations": [[{"role": m.role, "content": m.content} for m in messages] for messages in conversations],
        "max_tokens": list(max_tokens),
    }
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_kv_cache_gb),
        # Else three processes import vLLM one after the other.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    answers = log.with_suffix(".json")
    with log.open("w") as output:
        subprocess.run(
            # -P: no file of this folder may hide a library's module.
            [sys.executable, "-P", __file__, str(answers)],
            input=json.dumps(job),
            text=True,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
    found: list[dict[str, Any]] = json.loads(answers.read_text(encoding="utf-8"))
    return found


def main() -> None:
    from vllm import LLM, SamplingParams

    job = json.load(sys.stdin)
    outputs = LLM(**job["engine"]).chat(
        job["conversations"],
        [SamplingParams(temperature=0.0, max_tokens=most) for most in job["max_tokens"]],
        chat_template_kwargs=job["chat_template_kwargs"],
        use_tqdm=False,
    )
    answers = [
        {
            "text": output.outputs[0].text,
            "finish_reason": output.outputs[0].finish_reason,
            "prompt_tokens": len(output.prompt_token_ids),
            "completion_tokens": len(output.outputs[0].token_ids),
        }
        for output in outputs
    ]
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
