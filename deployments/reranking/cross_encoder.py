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
from deployments.inference import windows
from deployments.inference.loading import load, shared_threads, use_threads
from deployments.inference.weights import display_name
from deployments.reranking.config import RerankingConfig

_USUAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """A part of the query and a window of the text that is `at` this place, read together."""

    at: int
    query: str
    text: str
    tokens: int


class CrossEncoderReranker:
    """The model's relevance logit through the logistic function. What doesn't fit is read in windows: a text's best
    window counts, and a query longer than half of what the model reads counts as the mean of its parts.
    """

    def __init__(self, config: RerankingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or can't be used."""
        transformers_logging.disable_progress_bar()
        self._model = load("reranking", config, lambda folder: _model(folder, config))
        if self._model.num_labels != 1:
            raise StageUnavailable(
                f"reranking.model {config.model!r} gives {self._model.num_labels} scores a text, a reranker gives one; "
                "choose a reranking model, or set reranking.backend to late_interaction"
            )
        self.model = display_name(config.model)
        self.lanes, self._threads = shared_threads(config.device)
        self._tokenizing = threading.Lock()
        """The model's own tokenizer refuses a second caller while it has one."""
        self._tokenizer = windows.untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(True)

    def items(self, query: str, texts: Sequence[str]) -> list[Pair]:
        (parts,) = windows.split(self._tokenizer, [query], self._capacity // 2)
        return [
            Pair(text, part.text, window.text, part.tokens + window.tokens)
            for part in parts
            for text, cut in enumerate(windows.split(self._tokenizer, texts, self._capacity - part.tokens))
            for window in cut
        ]

    def forward(self, items: Sequence[Pair]) -> list[float]:
        # The library's `predict` does the same, but for one caller at a time.
        use_threads(self._threads)
        with self._tokenizing:
            features = self._model.preprocess([(pair.query, pair.text) for pair in items])
        with torch.inference_mode():
            logits = self._model(batch_to_device(features, self._model.device))["scores"]
            scores: list[float] = torch.sigmoid(logits.float()).flatten().tolist()
        return scores

    def scores(self, texts: int, items: Sequence[Pair], results: Sequence[float]) -> list[float]:
        best = dict[str, list[float]]()
        for pair, score in zip(items, results, strict=True):
            of_part = best.setdefault(pair.query, [0.0] * texts)
            of_part[pair.at] = max(of_part[pair.at], score)
        return [sum(scores) / len(best) for scores in zip(*best.values(), strict=True)]


def _model(folder: Path, config: RerankingConfig) -> CrossEncoder:
    dtype = getattr(torch, config.dtype)
    model = CrossEncoder(str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": dtype})
    return model.eval()
