"""What an embedder is, and the lazy way from a backend's name to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from deployments.embedding.config import EmbeddingConfig
from deployments.inference.windows import Window
from deployments.types import EmbedderInfo, Matrix, TextKind


class Embedder(Protocol):
    """Synchronous and thread-safe; the deployment keeps it off the event loop.

    `lanes`: how many passes gain from running at the same time.
    """

    info: EmbedderInfo
    lanes: int

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads of each text: its own, those of the prompt, and special ones."""
        ...

    def cut(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        """Each text as the windows that the model reads of it, one if it reads that much at once."""
        ...

    def forward(self, cut: Sequence[Window], kind: TextKind) -> Matrix:
        """The windows' unit vectors by one forward pass, shape (len(cut), dimension)."""
        ...


def create(config: EmbeddingConfig) -> Embedder:
    match config.backend:
        case "sentence_transformers":
            from deployments.embedding.sentence_transformer import SentenceTransformerEmbedder

            return SentenceTransformerEmbedder(config)
        case "fake":
            from deployments.embedding.fake import FakeEmbedder

            return FakeEmbedder(config)
        case _:
            assert_never(config.backend)
