"""An embedder for tests and demonstrations: texts that share words get near vectors, and no model is loaded."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from deployments.embedding.base import TokenVectors
from deployments.embedding.config import EmbeddingConfig
from deployments.inference.windows import Window
from deployments.types import EmbedderInfo, Matrix, TextKind

DIMENSION = 64
MAX_TOKENS = 256
_WORD = re.compile(r"\w+")


class FakeEmbedder:
    """Word counts, hashed into signed buckets. It reads texts of any length, and makes no difference between kinds.

    With another `embedding.model` than the default it is another embedder: of another fingerprint and dimension.
    """

    concurrent_passes = 1

    def __init__(self, config: EmbeddingConfig) -> None:
        tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        is_default = config.model == EmbeddingConfig.model_fields["model"].default
        self._salt = "" if is_default else config.model
        self.info = EmbedderInfo(
            model="fake" if is_default else config.model,
            fingerprint="fakebagofwords1" if is_default else f"fake{zlib.crc32(config.model.encode()):08x}",
            dimension=DIMENSION if is_default else DIMENSION // 2,
            max_tokens=MAX_TOKENS,
            tokenizer_json=tokenizer.to_str(),
            languages=config.known_languages,
        )

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return [len(_WORD.findall(text)) for text in texts]

    def split(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        return [[Window(text, len(_WORD.findall(text)))] for text in texts]

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        vectors: Matrix = np.zeros((len(windows), self.info.dimension), dtype=np.float32)
        for vector, window in zip(vectors, windows, strict=True):
            for word in _WORD.findall(window.text.casefold()):
                bucket, sign = divmod(zlib.crc32((self._salt + word).encode("utf-8", "replace")), 2)
                vector[bucket % self.info.dimension] += 1 if sign else -1
            if not vector.any():
                vector[0] = 1  # no words, or words that cancel out
            vector /= np.linalg.norm(vector)
        return vectors

    def forward_tokens(self, windows: Sequence[Window], kind: TextKind) -> TokenVectors:
        tokens = [self.forward([Window(word, 1) for word in _WORD.findall(window.text)], kind) for window in windows]
        return TokenVectors(self.forward(windows, kind), tokens)
