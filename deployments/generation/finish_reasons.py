"""How an answer ended: vLLM's word for it → ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from deployments.errors import StageUnavailable

_OF_VLLM: Mapping[str, Literal["stop", "length", "cancelled"]] = {
    "stop": "stop",
    "length": "length",
    "abort": "cancelled",
    "repetition": "stop",
}


def finish_reason(of_vllm: str) -> Literal["stop", "length", "cancelled"]:
    """Raises StageUnavailable where vLLM gave the answer up: its word is `error`, or one that is not known here."""
    if of_vllm not in _OF_VLLM:
        raise StageUnavailable(
            "generation: vLLM could not finish the answer; try again", internal=f"finish reason {of_vllm}"
        )
    return _OF_VLLM[of_vllm]
