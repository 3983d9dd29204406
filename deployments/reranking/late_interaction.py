"""Late interaction over an embedding model's token vectors: reranking without a reranking model's download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deployments.inference import windows
from deployments.inference.loading import load, shared_threads, use_threads
from deployments.inference.weights import display_name
from deployments.reranking import encoder
from deployments.reranking.config import RerankingConfig

QUERY = -1
_USUAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Piece:
    """A window of the text that is `at` this place, or of the query, tokenised with its special tokens."""

    at: int
    encoding: Encoding

    @property
    def tokens(self) -> int:
        return len(self.encoding.ids)


class LateInteractionReranker:
    """MaxSim (Khattab and Zaharia, "ColBERT", 2020): for each token of the query the largest cosine with any token of
    the text, and the mean of these. All tokens count alike; special ones don't count. A text longer than the model
    reads is scored in windows and its best window counts; all of a long query's tokens count. A cosine below 0 counts
    as 0, so the score lies in [0, 1].
    """

    def __init__(self, config: RerankingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or can't be used."""
        self._encode, self._tokenizer, max_tokens = load("reranking", config, lambda folder: _parts(folder, config))
        self.model = display_name(config.model)
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._capacity = max_tokens - self._special
        self._device = config.device
        self.lanes, self._threads = shared_threads(config.device)

    def items(self, query: str, texts: Sequence[str]) -> list[Piece]:
        asked = [piece for piece in self._pieces([query], QUERY) if piece.tokens > self._special]
        return [*asked, *self._pieces(texts, 0)] if asked else []  # a query of nothing but blanks

    @torch.inference_mode()
    def forward(self, items: Sequence[Piece]) -> list[Tensor]:
        """Unit vectors of each item's tokens without special ones, shape (tokens, size)."""
        use_threads(self._threads)
        ids = _padded([piece.encoding.ids for piece in items])
        mask = _padded([piece.encoding.attention_mask for piece in items]).bool()
        special = _padded([piece.encoding.special_tokens_mask for piece in items]).bool()
        hidden = self._encode(ids.to(self._device), mask.to(self._device)).float()
        vectors = torch.nn.functional.normalize(hidden, dim=-1).cpu()
        return [of_item[counts] for of_item, counts in zip(vectors, mask & ~special, strict=True)]

    @torch.inference_mode()
    def scores(self, texts: int, items: Sequence[Piece], results: Sequence[Tensor]) -> list[float]:
        best = [0.0] * texts
        if not items:
            return best
        asked = torch.cat([vectors for piece, vectors in zip(items, results, strict=True) if piece.at == QUERY])
        for piece, vectors in zip(items, results, strict=True):
            if piece.at != QUERY and len(vectors):
                score = float((asked @ vectors.T).amax(dim=1).clamp(0.0).mean())
                best[piece.at] = max(best[piece.at], min(score, 1.0))  # rounding can push the mean of cosines past 1
        return best

    def _pieces(self, texts: Sequence[str], first: int) -> list[Piece]:
        cut = windows.split(self._tokenizer, texts, self._capacity)
        places = [at for at, each in enumerate(cut, first) for _ in each]
        encodings = self._tokenizer.encode_batch([window.text for each in cut for window in each])
        return [Piece(at, encoding) for at, encoding in zip(places, encodings, strict=True)]


def _parts(folder: Path, config: RerankingConfig) -> tuple[encoder.Encode, Tokenizer, int]:
    """The encoder, its tokenizer, and how many tokens it reads."""
    encode = encoder.load(folder, config.device, getattr(torch, config.dtype))
    return encode, windows.untruncated((folder / "tokenizer.json").read_text("utf-8")), _max_tokens(folder)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)


def _max_tokens(folder: Path) -> int:
    """The least of what the model's files say it reads."""
    places = (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
    )
    found = [json.loads(file.read_text("utf-8")).get(key) for name, key in places if (file := folder / name).is_file()]
    return min((int(value) for value in found if value), default=_USUAL_MAX_TOKENS)
