from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from deployments.inference.bundled import MINILM
from deployments.inference.weights import locate
from deployments.reranking import encoder

IDS = torch.tensor([[101, 7592, 2088, 102, 0, 0], [101, 2023, 2003, 1037, 3231, 102]])
MASK = IDS != 0


def expected(folder: Path) -> torch.Tensor:
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        hidden: torch.Tensor = model(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    return hidden


def test_plain_bert_is_the_same_as_in_transformers() -> None:
    folder = locate(MINILM, None, "test")
    encode = encoder.load(folder, "cpu", torch.float32)
    assert torch.allclose(encode(IDS, MASK)[MASK], expected(folder)[MASK], atol=1e-4)


def test_plain_bert_of_other_proportions_is_the_same_as_in_transformers(save_model: Callable[..., Path]) -> None:
    config = BertConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, layer_norm_eps=1e-5,
        initializer_range=0.4,
    )  # fmt: skip
    folder = save_model(BertModel, config, 64)
    encode = encoder.load(folder, "cpu", torch.float32)
    assert torch.allclose(encode(IDS, MASK)[MASK], expected(folder)[MASK], atol=1e-4)


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (DistilBertModel, DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64)),
        (
            BertModel,
            BertConfig(
                hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, hidden_act="relu"
            ),
        ),
    ],
)
def test_any_other_encoder_goes_through_transformers(
    model_class: type, config: object, save_model: Callable[..., Path]
) -> None:
    folder = save_model(model_class, config, 64)
    encode = encoder.load(folder, "cpu", torch.float32)
    with torch.inference_mode():
        assert torch.allclose(encode(IDS, MASK)[MASK], expected(folder)[MASK], atol=1e-5)


def test_the_bundled_model_needs_neither_transformers_nor_sentence_transformers() -> None:
    script = """
import sys
from deployments.reranking.config import RerankingConfig
from deployments.reranking.base import create
reranker = create(RerankingConfig())
reranker.forward(reranker.items("a", ["b"]))
print({"transformers", "sentence_transformers", "sklearn"} & set(sys.modules))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "set()"


def test_the_tokenizer_of_these_tests_is_the_bundled_one() -> None:
    tokenizer = Tokenizer.from_file(str(locate(MINILM, None, "test") / "tokenizer.json"))
    assert tokenizer.encode("hello world").ids[:4] == IDS[0, :4].tolist()
