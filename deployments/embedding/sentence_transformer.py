"""Embeddings by a sentence-transformers model, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from deployments import windows
from deployments.embedding.base import TextKind
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.fingerprint import fingerprint
from deployments.errors import StageUnavailable
from deployments.loading import load
from deployments.models import display_name
from deployments.types import EmbedderInfo, Embeddings, Matrix

_PROMPT_NAMES: dict[TextKind, tuple[str, ...]] = {"query": ("query",), "passage": ("passage", "document")}
_USUAL_MAX_TOKENS = 512
"""For the rare model whose files don't say how much it reads."""
_SMALLEST_WINDOW = 16


class SentenceTransformerEmbedder:
    def __init__(self, config: EmbeddingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or can't be used."""
        transformers_logging.disable_progress_bar()
        self._model, folder = load("embedding", config, lambda folder: (_model(folder, config), folder))
        self._batch_size = config.batch_size
        self._prompts: dict[TextKind, str] = {
            "query": self._prompt("query", config.query_prompt),
            "passage": self._prompt("passage", config.passage_prompt),
        }
        self._tokenizer = windows.untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(False)
        for kind, prompt in self._prompts.items():
            if len(self._tokenizer.encode(prompt).ids) + _SMALLEST_WINDOW > max_tokens:
                raise StageUnavailable(
                    f"embedding.{kind}_prompt leaves no room for text in the {max_tokens} tokens that "
                    f"{config.model!r} reads; shorten it"
                )
        dimension = int(self._model.get_embedding_dimension())
        self.info = EmbedderInfo(
            model=display_name(config.model),
            fingerprint=fingerprint(folder, self._prompts, max_tokens, dimension, "unit length"),
            dimension=dimension,
            max_tokens=max_tokens,
            tokenizer_json=self._tokenizer.to_str(),
            languages=config.languages,
        )

    def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        prompt = self._prompts[kind]
        texts_windows = windows.split(self._tokenizer, texts, self._capacity, prompt)
        vectors = self._encode([window.text for each in texts_windows for window in each], prompt)
        # A text's vector is the mean over all its tokens, as it would be had the model read it in one piece.
        weights = np.array([max(window.tokens, 1) for each in texts_windows for window in each], dtype=np.float32)
        summed = np.zeros((len(texts), self.info.dimension), dtype=np.float32)
        owners = np.repeat(np.arange(len(texts)), [len(each) for each in texts_windows])
        np.add.at(summed, owners, vectors * weights[:, None])
        return Embeddings(_unit(summed), self.info.fingerprint, self.info.languages)

    def _encode(self, texts: list[str], prompt: str) -> Matrix:
        """Unit vectors, shape (texts, dimension). The library sorts the texts by length before it makes batches."""
        if not texts:
            return np.zeros((0, self.info.dimension), dtype=np.float32)
        vectors = self._model.encode(
            texts,
            prompt=prompt,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        encoded: Matrix = vectors.float().cpu().numpy()
        return encoded

    def _prompt(self, kind: TextKind, configured: str | None) -> str:
        if configured is not None:
            return configured
        return next((prompt for name in _PROMPT_NAMES[kind] if (prompt := self._model.prompts.get(name))), "")


def _model(folder: Path, config: EmbeddingConfig) -> SentenceTransformer:
    dtype = getattr(torch, config.dtype)
    return SentenceTransformer(str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": dtype})


def _unit(vectors: Matrix) -> Matrix:
    unit: Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit
