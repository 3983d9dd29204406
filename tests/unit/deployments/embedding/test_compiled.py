"""What OpenVINO computes beside what torch does, of several kinds of transformers."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, XLMRobertaConfig, XLMRobertaModel

from deployments.embedding import sentence_transformer
from deployments.embedding.base import create
from deployments.embedding.config import EmbeddingConfig
from deployments.errors import StageUnavailable
from deployments.inference.bundled import MINILM
from deployments.inference.windows import Window
from tests.support.models import save_random

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
KINDS: dict[str, tuple[Any, Any]] = {
    "bert": (BertModel, BertConfig(**SHAPE)),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(vocab_size=30_522, max_position_embeddings=300, **SHAPE)),
    "distilbert": (DistilBertModel, DistilBertConfig(dim=64, n_layers=2, n_heads=4, hidden_dim=128)),
}
TEXTS = ["rok", "Žalba se podnosi u roku od petnaest dana.", "the controller keeps a register " * 12, ""]


def windows(texts: list[str]) -> list[Window]:
    return [Window(text, 1) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_torch(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_random(tmp_path, *KINDS[kind], max_tokens=256)
    compiled = create(EmbeddingConfig(model=str(folder), runtime="openvino", dtype="float32", int8_weights=False))
    plain = create(EmbeddingConfig(model=str(folder), runtime="torch", dtype="float32"))
    for asked in ("query", "passage"):
        for texts in (TEXTS, TEXTS[:1], TEXTS[1:] * 5):
            found = compiled.forward(windows(texts), asked)
            expected = plain.forward(windows(texts), asked)
            assert found == pytest.approx(expected, abs=2e-5)
    assert compiled.info.fingerprint == plain.info.fingerprint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_weights_in_eight_bits_vectors_are_nearly_those_of_torch(kind: str, dtype: Any, tmp_path: Path) -> None:
    folder = save_random(tmp_path, *KINDS[kind], max_tokens=256)
    compiled = create(EmbeddingConfig(model=str(folder), runtime="openvino", dtype=dtype))
    plain = create(EmbeddingConfig(model=str(folder), runtime="torch", dtype="float32"))
    expected = plain.forward(windows(TEXTS), "passage")
    found = compiled.forward(windows(TEXTS), "passage")
    assert (found * expected).sum(axis=1) == pytest.approx(1, abs=0.01)
    assert not np.array_equal(found, expected)
    assert compiled.info.fingerprint == plain.info.fingerprint


def test_callers_at_the_same_time_get_their_own() -> None:
    embedder = create(EmbeddingConfig(model=MINILM, runtime="openvino"))
    texts = [f"{TEXTS[2][: 20 * number]} number {number}" for number in range(1, 25)]
    alone = np.array([embedder.forward(windows([text]), "passage")[0] for text in texts])
    with ThreadPoolExecutor(6) as threads:
        for _ in range(5):
            together = [*threads.map(lambda text: embedder.forward(windows([text]), "passage")[0], texts)]
            assert np.array(together) == pytest.approx(alone, abs=1e-5)


def test_what_it_gave_stays_when_it_is_asked_again() -> None:
    embedder = create(EmbeddingConfig(model=MINILM, runtime="openvino"))
    first = embedder.forward(windows(["one thing"]), "query")
    kept = first.copy()
    embedder.forward(windows(["quite another one"]), "query")
    assert np.array_equal(first, kept)


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("unknown operation")


def test_a_model_that_it_cannot_read_is_left_to_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sentence_transformer, "CompiledTransformer", broken)
    with caplog.at_level(logging.WARNING):
        embedder = create(EmbeddingConfig(model=MINILM, dtype="float32"))
    assert "OpenVINO cannot run embedding.model 'all-MiniLM-L6-v2': unknown operation; torch computes" in caplog.text
    assert np.linalg.norm(embedder.forward(windows(["text"]), "query")) == pytest.approx(1, abs=1e-5)


def test_where_it_is_asked_for_such_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_transformer, "CompiledTransformer", broken)
    with pytest.raises(StageUnavailable, match=r"unknown operation; set embedding\.runtime to auto or torch"):
        create(EmbeddingConfig(model=MINILM, runtime="openvino"))


def test_what_it_computes_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A branch that depends on the texts: tracing keeps the one that the example took."""

    forward = BertModel.forward

    def branching(self: Any, input_ids: Any, **others: Any) -> Any:
        found = forward(self, input_ids, **others)
        if input_ids.shape[0] > 2:
            found.last_hidden_state = found.last_hidden_state * 2
        return found

    folder = save_random(tmp_path, *KINDS["bert"], max_tokens=256)
    monkeypatch.setattr(BertModel, "forward", branching)
    with pytest.raises(StageUnavailable, match="does not compute what it does in torch"):
        create(EmbeddingConfig(model=str(folder), runtime="openvino"))


@pytest.mark.parametrize("other", [{"device": "cuda"}, {"dtype": "float16"}])
def test_it_is_for_cpus(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="openvino computes in float32 or bfloat16 on the CPU"):
        EmbeddingConfig(runtime="openvino", **other)
