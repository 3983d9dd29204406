"""What an embedder is, and the lazy way from a backend's name to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from deployments.embedding.config import EmbeddingConfig
from deployments.types import EmbedderInfo, Embeddings, TextKind


class Embedder(Protocol):
    """Synchronous and thread-safe; the deployment keeps it off the event loop.

    `lanes`: how many calls for passages gain from running at the same time.
    """

    info: EmbedderInfo
    lanes: int

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads of each text: its own, those of the prompt, and special ones."""
        ...

    def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """Embed texts in one forward pass, each whole: one longer than the model reads is embedded in windows whose
        vectors are averaged by token count, never silently cut."""
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
