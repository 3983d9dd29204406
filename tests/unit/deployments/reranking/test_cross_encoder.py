from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from deployments.errors import StageUnavailable
from deployments.inference import windows
from deployments.reranking.base import Reranker, create
from deployments.reranking.config import RerankingConfig
from tests.support.models import score

MAX_TOKENS = 48
LONG = "The register of data subjects is kept by the controller for ten years. " * 10


@pytest.fixture
def folder(save_model: Callable[..., Path]) -> Path:
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=MAX_TOKENS, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    return save_model(BertForSequenceClassification, config, MAX_TOKENS)


@pytest.fixture
def reranker(folder: Path) -> Reranker[Any, Any]:
    return create(RerankingConfig(backend="cross_encoder", model=str(folder)))


def split(folder: Path, text: str, capacity: int) -> list[str]:
    tokenizer = windows.untruncated((folder / "tokenizer.json").read_text("utf-8"))
    (parts,) = windows.split_into_windows(tokenizer, [text], capacity)
    return [part.text for part in parts]


def test_the_score_is_the_logistic_function_of_the_models_logit(reranker: Reranker[Any, Any], folder: Path) -> None:
    texts = ["An appeal is filed within fifteen days.", "Dogs.", ""]
    scores = score(reranker, "When is an appeal filed?", texts)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, found in zip(texts, scores, strict=True):
        with torch.inference_mode():
            logit = model(**tokenizer([("When is an appeal filed?", text)], return_tensors="pt")).logits
        assert found == pytest.approx(float(torch.sigmoid(logit)), abs=1e-4)
    assert len(set(scores)) == 3


def test_the_best_window_of_a_long_text_counts(reranker: Reranker[Any, Any], folder: Path) -> None:
    query = "ten years"  # two tokens, beside [CLS] and two [SEP]
    parts = split(folder, LONG + "Bananas are exported.", MAX_TOKENS - 3 - 2)
    assert len(parts) > 3
    scores = score(reranker, query, [LONG + "Bananas are exported.", *parts])
    assert scores[0] == pytest.approx(max(scores[1:]), abs=1e-4)
    assert max(scores[1:]) - min(scores[1:]) > 1e-3, "windows that all score alike would prove nothing"


def test_a_long_query_is_the_mean_of_its_parts(reranker: Reranker[Any, Any], folder: Path) -> None:
    parts = split(folder, LONG, (MAX_TOKENS - 3) // 2)
    assert len(parts) > 3
    scores = [score(reranker, part, ["Kept for ten years."])[0] for part in parts]
    assert score(reranker, LONG, ["Kept for ten years."]) == pytest.approx([sum(scores) / len(scores)], abs=1e-4)


def test_no_texts_have_no_scores(reranker: Reranker[Any, Any]) -> None:
    assert score(reranker, "a query", []) == []


def test_a_model_that_gives_classes_is_refused(save_model: Callable[..., Path]) -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=3)
    folder = save_model(BertForSequenceClassification, config, 64)
    with pytest.raises(StageUnavailable, match=r"reranking\.model .* gives 3 scores a text"):
        create(RerankingConfig(backend="cross_encoder", model=str(folder)))


def test_a_model_that_is_not_here_is_named() -> None:
    with pytest.raises(StageUnavailable, match=r"reranking\.model 'no/such-model' is not in the local model cache"):
        create(RerankingConfig(backend="cross_encoder", model="no/such-model"))
