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

from deployments import windows
from deployments.loading import load
from deployments.models import display_name
from deployments.reranking import encoder
from deployments.reranking.config import RerankingConfig

_USUAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _Piece:
    """A window of the text at `owner`, tokenised with its special tokens."""

    owner: int
    encoding: Encoding


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
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(False)
        self._device = config.device
        self._batch_size = config.batch_size

    @torch.inference_mode()
    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        asked = self._query_vectors(query)
        best = torch.zeros(len(texts))
        if not len(asked):  # a query of nothing but blanks
            return best.tolist()
        pieces = sorted(self._pieces(texts), key=lambda piece: len(piece.encoding.ids))
        for start in range(0, len(pieces), self._batch_size):
            batch = pieces[start : start + self._batch_size]
            vectors, counts = self._token_vectors([piece.encoding for piece in batch])
            cosines = torch.einsum("qd,ptd->pqt", asked, vectors).masked_fill(~counts[:, None, :], 0.0)
            scores = cosines.amax(dim=2).mean(dim=1).cpu()
            best.scatter_reduce_(0, torch.tensor([piece.owner for piece in batch]), scores, "amax")
        return best.clamp(max=1.0).tolist()  # rounding can push the mean of cosines past 1

    def _query_vectors(self, query: str) -> Tensor:
        """Unit vectors of the query's tokens, shape (tokens, size)."""
        vectors, counts = self._token_vectors([piece.encoding for piece in self._pieces([query])])
        return vectors[counts]

    def _pieces(self, texts: Sequence[str]) -> list[_Piece]:
        cut = windows.split(self._tokenizer, texts, self._capacity)
        owners = [owner for owner, each in enumerate(cut) for _ in each]
        encodings = self._tokenizer.encode_batch([window.text for each in cut for window in each])
        return [_Piece(owner, encoding) for owner, encoding in zip(owners, encodings, strict=True)]

    def _token_vectors(self, encodings: Sequence[Encoding]) -> tuple[Tensor, Tensor]:
        """Unit vectors (texts, tokens, size) and which of them count: neither padding nor special tokens."""
        ids = _padded([encoding.ids for encoding in encodings])
        mask = _padded([encoding.attention_mask for encoding in encodings]).bool()
        special = _padded([encoding.special_tokens_mask for encoding in encodings]).bool()
        hidden = self._encode(ids.to(self._device), mask.to(self._device)).float()
        return torch.nn.functional.normalize(hidden, dim=-1), (mask & ~special).to(self._device)


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
