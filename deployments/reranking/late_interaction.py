"""Reranking by late interaction over an embedding model's token vectors: no reranking model has to be downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deployments.inference.loading import load, parallelism, use_threads
from deployments.inference.weights import display_name
from deployments.inference.windows import split_into_windows, untruncated
from deployments.reranking import encoder
from deployments.reranking.config import RerankingConfig

QUERY = -1
"""The text index of the query's own windows."""
_USUAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class EncodedWindow:
    """A window of a text or of the query, tokenised with its special tokens."""

    text_index: int
    encoding: Encoding

    @property
    def tokens(self) -> int:
        return len(self.encoding.ids)


class LateInteractionReranker:
    """MaxSim (Khattab and Zaharia, "ColBERT", 2020).

    For each token of the query it takes the largest cosine with any token of the text. The score is the mean of these.

    All tokens count alike, special ones do not count. A cosine below 0 counts as 0, so the score lies in [0, 1]. A
    text longer than the model reads is scored in windows, and its best window counts. Of a long query all tokens count.
    """

    def __init__(self, config: RerankingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or cannot be used."""
        self._encode, self._tokenizer, max_tokens = load("reranking", config, lambda folder: _parts(folder, config))
        self.model = display_name(config.model)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(False)
        self._capacity = max_tokens - self._special_tokens
        self._device = config.device
        self.concurrent_passes, self._threads = parallelism(config.device)

    def items(self, query: str, texts: Sequence[str]) -> list[EncodedWindow]:
        of_query = [window for window in self._windows([query], QUERY) if window.tokens > self._special_tokens]
        # None: a query of nothing but blanks.
        return [*of_query, *self._windows(texts, 0)] if of_query else []

    @torch.inference_mode()
    def forward(self, items: Sequence[EncodedWindow]) -> list[Tensor]:
        """The unit vectors of each item's tokens, special ones left out: per item a tensor of shape (tokens, size)."""
        use_threads(self._threads)
        ids = _padded([window.encoding.ids for window in items])
        mask = _padded([window.encoding.attention_mask for window in items]).bool()
        special = _padded([window.encoding.special_tokens_mask for window in items]).bool()
        hidden = self._encode(ids.to(self._device), mask.to(self._device)).float()
        vectors = torch.nn.functional.normalize(hidden, dim=-1).cpu()
        return [of_window[is_token] for of_window, is_token in zip(vectors, mask & ~special, strict=True)]

    @torch.inference_mode()
    def scores(self, text_count: int, items: Sequence[EncodedWindow], results: Sequence[Tensor]) -> list[float]:
        best = [0.0] * text_count
        if not items:
            return best
        of_query = [vectors for window, vectors in zip(items, results, strict=True) if window.text_index == QUERY]
        query = torch.cat(of_query)
        for window, vectors in zip(items, results, strict=True):
            if window.text_index != QUERY and len(vectors):
                score = float((query @ vectors.T).amax(dim=1).clamp(0.0).mean())
                score = min(score, 1.0)  # rounding can push the mean of cosines past 1
                best[window.text_index] = max(best[window.text_index], score)
        return best

    def _windows(self, texts: Sequence[str], first_index: int) -> list[EncodedWindow]:
        """The windows of all texts in order; the texts' indexes count from `first_index`."""
        windows_per_text = split_into_windows(self._tokenizer, texts, self._capacity)
        indexed = [(index, window) for index, windows in enumerate(windows_per_text, first_index) for window in windows]
        encodings = self._tokenizer.encode_batch([window.text for _, window in indexed])
        return [EncodedWindow(index, encoding) for (index, _), encoding in zip(indexed, encodings, strict=True)]


def _parts(folder: Path, config: RerankingConfig) -> tuple[encoder.Encode, Tokenizer, int]:
    """(the encoder, its tokenizer, how many tokens it reads)."""
    encode = encoder.load(folder, config.device, getattr(torch, config.dtype))
    return encode, untruncated((folder / "tokenizer.json").read_text("utf-8")), _max_tokens(folder)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """The rows as one tensor of shape (rows, longest row), padded with zeros."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)


def _max_tokens(folder: Path) -> int:
    """How many tokens the model reads: the smallest number in its files."""
    settings = (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
    )
    found = [
        json.loads(file.read_text("utf-8")).get(key) for name, key in settings if (file := folder / name).is_file()
    ]
    return min((int(value) for value in found if value), default=_USUAL_MAX_TOKENS)
