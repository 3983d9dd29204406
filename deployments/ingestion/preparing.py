"""A parsed document, cut into chunks for one embedder, and the batches in which they are embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tokenizers import Tokenizer

from deployments.errors import StageUnavailable
from deployments.ingestion.base import Chunk, DocumentTask, ParsedDocument
from deployments.ingestion.chunking import chunk
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.passages import EmbeddableText, chunk_size, load_tokenizer, passages
from deployments.lexical import detect_language, encode_passage
from deployments.types import EmbedderInfo, Embeddings, IndexEntry, Language, SparseVector

_LANGUAGE_CHARACTERS = 20_000
"""How much of a document its language is judged by."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut into chunks. `max_tokens` is what its embedder reads, special tokens included."""

    task: DocumentTask
    title: str
    language: Language
    chunks: Sequence[Chunk]
    tokenizer: Tokenizer
    max_tokens: int

    def written(self, embedder: EmbedderInfo) -> int:
        """How many of the chunks an earlier try has put into the index, embedded by this embedder."""
        before = self.task.progress
        return before.done if (before.embedder, before.chunks) == (embedder.fingerprint, len(self.chunks)) else 0

    def batches(self, size: int) -> list[Sequence[Chunk]]:
        return [self.chunks[start : start + size] for start in range(0, len(self.chunks), size)]

    def encode(self, batch: Sequence[Chunk]) -> tuple[list[EmbeddableText], list[dict[int, float]]]:
        """The texts to embed, and the lexical vector of each. Blocks for milliseconds."""
        texts = passages(self.task, self.title, self.language, batch, self.tokenizer, self.max_tokens)
        return texts, [encode_passage(each.text, self.language) for each in texts]


class Preparer:
    """Keeps the tokenizer of the embedder that it was last given."""

    def __init__(self, config: IngestionConfig) -> None:
        self._config = config
        self._tokenizer: tuple[str, Tokenizer] | None = None

    def prepare(self, task: DocumentTask, document: ParsedDocument, embedder: EmbedderInfo) -> Prepared:
        """Blocks for seconds on a long document."""
        if self._tokenizer is None or self._tokenizer[0] != embedder.tokenizer_json:
            self._tokenizer = (embedder.tokenizer_json, load_tokenizer(embedder))
        tokenizer = self._tokenizer[1]
        sizes, config = task.chunk_sizes, self._config
        size = chunk_size(embedder, tokenizer, sizes.tokens or config.chunk_tokens)
        overlap = config.chunk_overlap if sizes.overlap is None else sizes.overlap
        return Prepared(
            task=task,
            title=task.title or document.title or PurePath(task.filename).stem or task.document_id,
            language=task.language or detect_language(document.text[:_LANGUAGE_CHARACTERS]),
            chunks=chunk(document, tokenizer, chunk_tokens=size, overlap=overlap),
            tokenizer=tokenizer,
            max_tokens=embedder.max_tokens,
        )


def entries(
    texts: Sequence[EmbeddableText], lexical: Sequence[SparseVector], embeddings: Embeddings, fingerprint: str
) -> list[IndexEntry]:
    """What goes into the index. Raises StageUnavailable if another embedder than the one meant made the vectors."""
    if embeddings.fingerprint != fingerprint:
        raise StageUnavailable("the embedding model changed while the document was embedded")
    return [
        IndexEntry(each.passage, dense, sparse)
        for each, dense, sparse in zip(texts, embeddings.vectors, lexical, strict=True)
    ]
