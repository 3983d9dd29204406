from __future__ import annotations

import pytest

from deployments.errors import StageUnavailable
from deployments.generation.finish_reasons import finish_reason


@pytest.mark.parametrize(
    ("of_vllm", "ours"), [("stop", "stop"), ("length", "length"), ("abort", "cancelled"), ("repetition", "stop")]
)
def test_vllm_s_words_have_ours(of_vllm: str, ours: str) -> None:
    assert finish_reason(of_vllm) == ours


@pytest.mark.parametrize("of_vllm", ["error", "new"])
def test_an_answer_that_vllm_gave_up_may_be_asked_for_again(of_vllm: str) -> None:
    with pytest.raises(StageUnavailable) as raised:
        finish_reason(of_vllm)
    assert raised.value.message == "generation: vLLM could not finish the answer; try again"
    assert raised.value.internal == f"finish reason {of_vllm}"
