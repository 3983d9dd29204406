"""A stage's model by itself, without the stage, and random ones to try it on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deployments.embedding.averaging import mean
from deployments.embedding.base import Embedder
from deployments.inference.bundled import MINILM
from deployments.inference.weights import locate
from deployments.reranking.base import Reranker
from deployments.types import Matrix, TextKind


def embed(embedder: Embedder, texts: Sequence[str], kind: TextKind = "passage") -> Matrix:
    """Unit vectors of shape (texts, dimension), each window by a pass of its own."""
    windows_per_text = embedder.split(texts, kind)
    vectors = [embedder.forward([window], kind)[0] for windows in windows_per_text for window in windows]
    return mean(windows_per_text, np.array(vectors, dtype=np.float32).reshape(-1, embedder.info.dimension))


def score(reranker: Reranker[Any, Any], query: str, texts: Sequence[str]) -> list[float]:
    """All that the query asks in one pass."""
    items = reranker.items(query, texts)
    return reranker.scores(len(texts), items, reranker.forward(items) if items else [])


def save_random(folder: Path, model_class: Any, config: Any, max_tokens: int) -> Path:
    """A seeded random model, made from its class and configuration, beside the bundled model's tokenizer."""
    torch.manual_seed(7)
    model_class(config).save_pretrained(folder)
    bundled = locate(MINILM, None, "test")
    for name in ("tokenizer.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(bundled / name, folder / name)
    tokenizer = json.loads((bundled / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": max_tokens}))
    return folder
