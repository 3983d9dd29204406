"""Reranking by a cross-encoder: a model that reads query and text together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from transformers.utils import logging as transformers_logging

from deployments import windows
from deployments.errors import StageUnavailable
from deployments.loading import load
from deployments.models import display_name
from deployments.reranking.config import RerankingConfig

_USUAL_MAX_TOKENS = 512


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
        self._batch_size = config.batch_size
        self._tokenizer = windows.untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(True)

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        (parts,) = windows.split(self._tokenizer, [query], self._capacity // 2)
        by_part = [self._score_part(part, texts) for part in parts]
        return [sum(scores) / len(parts) for scores in zip(*by_part, strict=True)]

    def _score_part(self, query: windows.Window, texts: Sequence[str]) -> list[float]:
        cut = windows.split(self._tokenizer, texts, self._capacity - query.tokens)
        scores = iter(
            self._model.predict(
                [(query.text, window.text) for each in cut for window in each],
                batch_size=self._batch_size,
                activation_fn=torch.nn.Sigmoid(),
                convert_to_tensor=True,
                show_progress_bar=False,
            )
            .float()
            .tolist()
        )
        return [max(next(scores) for _ in each) for each in cut]


def _model(folder: Path, config: RerankingConfig) -> CrossEncoder:
    dtype = getattr(torch, config.dtype)
    return CrossEncoder(str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": dtype})
