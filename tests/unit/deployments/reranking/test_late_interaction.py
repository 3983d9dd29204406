from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import DistilBertConfig, DistilBertModel

from deployments.errors import StageUnavailable
from deployments.inference import windows
from deployments.inference.bundled import MINILM
from deployments.inference.weights import locate
from deployments.reranking import encoder
from deployments.reranking.base import Reranker, create
from deployments.reranking.config import RerankingConfig
from tests.support.models import score

LONG = "The register of data subjects is kept by the controller for ten years. " * 24


@pytest.fixture(scope="module")
def reranker() -> Reranker[Any, Any]:
    return create(RerankingConfig())


def token_vectors(text: str) -> torch.Tensor:
    """Unit vectors of a text's tokens without the special ones, straight from the model."""
    folder = locate(MINILM, None, "test")
    encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
    count = sum(encoding.attention_mask)
    ids = torch.tensor([encoding.ids[:count]])
    hidden = encoder.load(folder, "cpu", torch.float32)(ids, torch.ones_like(ids, dtype=torch.bool))
    return torch.nn.functional.normalize(hidden[0, 1:-1], dim=-1)


def test_the_score_is_the_mean_over_the_query_of_each_tokens_best_cosine(reranker: Reranker[Any, Any]) -> None:
    query, text = "When must an appeal be filed?", "An appeal is filed within fifteen days of delivery."
    cosines = token_vectors(query) @ token_vectors(text).T
    assert score(reranker, query, [text]) == pytest.approx([float(cosines.amax(dim=1).mean())], abs=1e-4)


def test_the_text_that_answers_is_first(reranker: Reranker[Any, Any]) -> None:
    texts = ["Dogs like long walks.", "The appeal period is fifteen days.", "Appeals are common in many courts."]
    scores = score(reranker, "How many days do I have for an appeal?", texts)
    assert max(range(3), key=scores.__getitem__) == 1
    assert all(0 <= score <= 1 for score in scores)


def test_scores_do_not_depend_on_the_other_texts(reranker: Reranker[Any, Any]) -> None:
    texts = ["one", LONG, "a text of some words", "", "two words", "dogs like long walks"]
    together = score(reranker, "a walk with the dog", texts)
    assert together == pytest.approx([score(reranker, "a walk with the dog", [text])[0] for text in texts], abs=1e-4)


def test_a_text_scores_itself_highest_and_at_most_one(reranker: Reranker[Any, Any]) -> None:
    (itself,) = score(reranker, "the same words", ["the same words"])
    assert 0.9999 < itself <= 1


def test_the_best_window_of_a_long_text_counts(reranker: Reranker[Any, Any]) -> None:
    text = LONG + "Bananas are exported from Ecuador by ship." + LONG
    folder = locate(MINILM, None, "test")
    tokenizer = windows.untruncated((folder / "tokenizer.json").read_text("utf-8"))
    (parts,) = windows.split_into_windows(tokenizer, [text], 254)
    scores = score(reranker, "Which country exports bananas?", [text, LONG, *(part.text for part in parts)])
    assert scores[0] == pytest.approx(max(scores[2:]), abs=1e-4)
    assert scores[0] > scores[1] + 0.1


def test_all_of_a_long_query_counts(reranker: Reranker[Any, Any]) -> None:
    texts = ["Bananas are exported from Ecuador."]
    without, with_tail = (score(reranker, query, texts)[0] for query in (LONG, LONG + "bananas Ecuador export " * 40))
    assert with_tail > without + 0.02


@pytest.mark.parametrize(("query", "texts"), [("a query", [""]), ("", ["a text"]), ("\n", ["a text"])])
def test_nothing_to_compare_scores_nothing(reranker: Reranker[Any, Any], query: str, texts: list[str]) -> None:
    assert score(reranker, query, texts) == [0.0]


def test_no_texts_have_no_scores(reranker: Reranker[Any, Any]) -> None:
    assert score(reranker, "a query", []) == []


def test_any_local_encoder_serves_and_reads_long_texts_whole(save_model: Callable[..., Path]) -> None:
    config = DistilBertConfig(
        dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=32, initializer_range=0.5
    )
    reranker = create(RerankingConfig(model=str(save_model(DistilBertModel, config, 512))))
    assert reranker.model == "tiny"
    plain, with_tail = score(reranker, "bananas", ["filler " * 200, "filler " * 200 + "bananas"])
    assert 0 <= plain < with_tail <= 1


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageUnavailable, match=r"reranking\.model .* cannot be loaded"):
        create(RerankingConfig(model=str(tmp_path)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("backend", ["late_interaction", "cross_encoder"])
def test_a_gpu_that_is_not_there_is_named(backend: str) -> None:
    with pytest.raises(StageUnavailable, match=r"reranking\.device is cuda"):
        create(RerankingConfig.model_validate({"backend": backend, "device": "cuda"}))
