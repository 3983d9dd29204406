"""The embedder interface, and the choice of a backend by its name. A backend is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, assert_never

from deployments.embedding.config import EmbeddingConfig
from deployments.inference.windows import Window
from deployments.types import EmbedderInfo, Matrix, TextKind


class TokenVectors(NamedTuple):
    """The result of a pass: the windows' unit vectors, shape (windows, dimension), and of each window the unit vectors
    of its text's tokens, shape (tokens, dimension)."""

    vectors: Matrix
    tokens: Sequence[Matrix]


class Embedder(Protocol):
    """Synchronous and thread-safe; the deployment calls it on threads of its own."""

    info: EmbedderInfo
    concurrent_passes: int
    """How many forward passes should run at the same time."""

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads for each text: the text's, the prompt's, and special ones."""
        ...

    def split(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        """The windows of each text: one, unless the text is longer than the model reads."""
        ...

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        """The windows' unit vectors by one forward pass, shape (windows, dimension)."""
        ...

    def forward_tokens(self, windows: Sequence[Window], kind: TextKind) -> TokenVectors | None:
        """The same with token vectors; None, without a pass, if the model's vectors are no average of these."""
        ...


def create(config: EmbeddingConfig) -> Embedder:
    """The configured backend, loaded. Raises StageUnavailable if its model is missing or cannot be used."""
    match config.backend:
        case "sentence_transformers":
            from deployments.embedding.sentence_transformer import SentenceTransformerEmbedder

            return SentenceTransformerEmbedder(config)
        case "fake":
            from deployments.embedding.fake import FakeEmbedder

            return FakeEmbedder(config)
        case _:
            assert_never(config.backend)
