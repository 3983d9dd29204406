"""A real vLLM engine that is stopped in the middle of an answer, in a process of its own: SIGSTOP to its core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_model import make_tiny_model

pytestmark = pytest.mark.timeout(900)
HUNG_S = 10.0
STOPPED_ENGINE = "tests.support.stopped_engine"


def test_an_engine_that_is_stopped_hangs_until_it_moves_on(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model", context_tokens=2048)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with (tmp_path / "log").open("w") as log:
        ended = subprocess.run(
            [sys.executable, "-m", STOPPED_ENGINE, str(model), str(tmp_path / "found.json"), f"{HUNG_S}"],
            env=environment, stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, (tmp_path / "log").read_text()[-4_000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["idle_is_healthy"]
    assert found["busy_is_healthy"]
    assert found["hung_after_s"] >= HUNG_S
    assert found["healthy_again"]
