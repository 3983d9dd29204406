from __future__ import annotations

import subprocess
import sys

from deployments.reranking.config import RerankingConfig
from deployments.reranking.fake import FakeReranker
from tests.support.models import score


def test_the_score_is_the_share_of_the_querys_words() -> None:
    fake = FakeReranker(RerankingConfig(backend="fake"))
    assert score(fake, "rok za žalbu", ["ROK, za  žalbu!", "rok", "dog", ""]) == [1.0, 1 / 3, 0.0, 0.0]
    assert score(fake, "?", ["anything"]) == [0.0]


def test_it_loads_no_model_library() -> None:
    script = "import deployments.reranking.fake, deployments.reranking.deployment, sys; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "False"
