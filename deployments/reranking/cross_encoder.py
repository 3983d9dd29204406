"""Reranking by a cross-encoder: a model that reads query and text together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device
from transformers.utils import logging as transformers_logging

from deployments.errors import StageUnavailable
from deployments.inference.loading import load, parallelism, use_threads
from deployments.inference.weights import display_name
from deployments.inference.windows import split_into_windows, untruncated
from deployments.reranking.config import RerankingConfig

_USUAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """A part of the query and a window of a text, which the model reads together."""

    text_index: int
    query: str
    text: str
    tokens: int


class CrossEncoderReranker:
    """A text's score is the logistic function of the model's relevance logit.

    What is too long for the model is read in windows. A text's best window counts. A query longer than half of what
    the model reads is split, and the mean over its parts counts.
    """

    def __init__(self, config: RerankingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or cannot be used."""
        transformers_logging.disable_progress_bar()
        self._model = load("reranking", config, lambda folder: _model(folder, config))
        if self._model.num_labels != 1:
            raise StageUnavailable(
                f"reranking.model {config.model!r} gives {self._model.num_labels} scores a text, a reranker gives one; "
                "choose a reranking model, or set reranking.backend to late_interaction"
            )
        self.model = display_name(config.model)
        self.concurrent_passes, self._threads = parallelism(config.device)
        self._tokenizing = threading.Lock()
        """Held around the model's own tokenizer, which refuses a second caller at the same time."""
        self._tokenizer = untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(True)

    def items(self, query: str, texts: Sequence[str]) -> list[Pair]:
        (query_parts,) = split_into_windows(self._tokenizer, [query], self._capacity // 2)
        return [
            Pair(text_index, part.text, window.text, part.tokens + window.tokens)
            for part in query_parts
            for text_index, windows in enumerate(
                split_into_windows(self._tokenizer, texts, self._capacity - part.tokens)
            )
            for window in windows
        ]

    def forward(self, items: Sequence[Pair]) -> list[float]:
        # Not the library's `predict`: that serves one caller at a time.
        use_threads(self._threads)
        with self._tokenizing:
            features = self._model.preprocess([(pair.query, pair.text) for pair in items])
        with torch.inference_mode():
            logits = self._model(batch_to_device(features, self._model.device))["scores"]
            scores: list[float] = torch.sigmoid(logits.float()).flatten().tolist()
        return scores

    def scores(self, text_count: int, items: Sequence[Pair], results: Sequence[float]) -> list[float]:
        best_by_query_part = dict[str, list[float]]()
        for pair, score in zip(items, results, strict=True):
            best = best_by_query_part.setdefault(pair.query, [0.0] * text_count)
            best[pair.text_index] = max(best[pair.text_index], score)
        return [sum(scores) / len(scores) for scores in zip(*best_by_query_part.values(), strict=True)]


def _model(folder: Path, config: RerankingConfig) -> CrossEncoder:
    dtype = getattr(torch, config.dtype)
    model = CrossEncoder(str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": dtype})
    return model.eval()
