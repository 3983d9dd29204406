"""A parsed document → passages ready to embed, and embedded passages → index entries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from deployments.errors import StageUnavailable
from deployments.filter_values import MAX_VALUES, count_values
from deployments.inference.windows import untruncated
from deployments.ingestion import omissions
from deployments.ingestion.base import Chunk, DocumentTask, ParsedDocument, chunking, short_name
from deployments.ingestion.chunking import split_into_chunks
from deployments.ingestion.config import IngestionConfig
from deployments.lexical import blend, detect_language, encode_passage
from deployments.types import EmbedderInfo, Embeddings, IndexEntry, IndexGeneration, Language, Passage, SparseVector

LOCATION_KEYS = ("headings", "page", "characters", "section")
"""The keys of a passage's metadata that say where in its document it is: see `Chunk`. `section` has the positions of
the first and the last passage of its section."""

_PATH_SEPARATOR = " › "
_PREFIX_TOKENS = 32
"""Tokens that a passage leaves free for its title and headings, where the model reads enough for that."""
_LANGUAGE_CHARACTERS = 20_000
"""Characters at the start of a document by which its language is detected."""


@dataclass(frozen=True, slots=True)
class EmbeddableText:
    """A passage, and the `text` that the embedder and the lexical encoder read: its title and headings, then its text.

    The embedder reads all of it.
    """

    passage: Passage
    text: str


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document cut into chunks for one embedder, which reads `max_tokens` tokens, special ones included.

    `chunking` tells how it was cut, and `warnings` what was left out of it.
    """

    task: DocumentTask
    title: str
    language: Language
    chunks: Sequence[Chunk]
    tokenizer: Tokenizer
    max_tokens: int
    chunking: str
    warnings: tuple[str, ...]

    def chunks_written(self, generation: IndexGeneration) -> int:
        """How many of the first chunks an earlier attempt has put into this generation of the index."""
        earlier = self.task.progress
        is_same_work = (earlier.generation, earlier.chunks) == (generation.name, len(self.chunks))
        return earlier.done if is_same_work else 0

    def batches(self, size: int) -> list[Sequence[Chunk]]:
        """The chunks in order, `size` at a time."""
        return [self.chunks[start : start + size] for start in range(0, len(self.chunks), size)]

    def encode(self, batch: Sequence[Chunk]) -> tuple[list[EmbeddableText], list[dict[int, float]]]:
        """The batch's texts to embed, and the lexical vector of each. Blocks for milliseconds."""
        texts = embeddable_texts(self.task, self.title, self.language, batch, self.tokenizer, self.max_tokens)
        return texts, lexical_vectors(batch, texts, self.language)


class DocumentPreparer:
    """Prepares documents, one after the other. Keeps the last embedder's tokenizer, which is slow to load."""

    def __init__(self, config: IngestionConfig) -> None:
        self._config = config
        self._tokenizer: tuple[str, Tokenizer] | None = None

    def prepare(self, task: DocumentTask, document: ParsedDocument, embedder: EmbedderInfo) -> PreparedDocument:
        """Blocks for seconds on a long document."""
        if self._tokenizer is None or self._tokenizer[0] != embedder.tokenizer_json:
            self._tokenizer = (embedder.tokenizer_json, untruncated(embedder.tokenizer_json))
        tokenizer = self._tokenizer[1]
        sizes, config = task.chunk_sizes, self._config
        size = chunk_size(embedder, tokenizer, sizes.tokens or config.chunk_tokens)
        overlap = config.chunk_overlap if sizes.overlap is None else sizes.overlap
        metadata, unfit = with_own_fields(task.metadata, document.metadata, task.metadata_bytes)
        left_out = {**document.left_out, "field": document.left_out.get("field", 0) + unfit}
        return PreparedDocument(
            task=replace(task, metadata=metadata),
            title=short_name(task.title or document.title or PurePath(task.filename).stem or task.document_id),
            language=task.language or detect_language(document.text[:_LANGUAGE_CHARACTERS]),
            chunks=split_into_chunks(document, tokenizer, chunk_tokens=size, overlap=overlap),
            tokenizer=tokenizer,
            max_tokens=embedder.max_tokens,
            chunking=chunking(sizes, config.chunk_sizes),
            warnings=omissions.warnings(left_out),
        )


def with_own_fields(
    metadata: Mapping[str, Any], own: Mapping[str, Any], most_bytes: int
) -> tuple[Mapping[str, Any], int]:
    """Metadata that was handed in, with a document's own fields as far as they fit, and how many did not.

    A key that was handed in keeps its value. A document's own field never takes the place of `LOCATION_KEYS`.
    `most_bytes` of all together, as JSON; 0: none is added. They have at most `MAX_VALUES` values.
    """
    if not own or not most_bytes:
        return metadata, 0
    size, values, merged, unfit = _json_bytes(metadata), count_values(metadata), dict(metadata), 0
    for key, value in own.items():
        if key in metadata:
            continue
        added = _json_bytes({key: value})  # its braces take what the comma before it will
        more = count_values({key: value})
        if key in LOCATION_KEYS or size + added > most_bytes or values + more > MAX_VALUES:
            unfit += 1
        else:
            size, values, merged[key] = size + added, values + more, value
    return merged, unfit


def _json_bytes(metadata: Mapping[str, Any]) -> int:
    return len(json.dumps(dict(metadata), ensure_ascii=False).encode())


def index_entries(
    texts: Sequence[EmbeddableText], lexical: Sequence[SparseVector], embeddings: Embeddings, fingerprint: str
) -> list[IndexEntry]:
    """The texts' index entries, in order. Raises StageUnavailable if the vectors are not of embedder `fingerprint`."""
    if embeddings.fingerprint != fingerprint:
        raise StageUnavailable("the embedding model changed while the document was embedded")
    tokens = embeddings.passage_tokens or (b"",) * len(texts)
    return [
        IndexEntry(embeddable.passage, dense, sparse, packed)
        for embeddable, dense, sparse, packed in zip(texts, embeddings.vectors, lexical, tokens, strict=True)
    ]


def entries_without_vectors(
    texts: Sequence[EmbeddableText], lexical: Sequence[SparseVector], generation: IndexGeneration
) -> list[IndexEntry]:
    """The texts' index entries, in order, for a generation whose embedder does not run: found by their terms alone.

    A vector of zeros is as near to every question.
    """
    no_vector = np.zeros(generation.dimension, np.float32)
    return [
        IndexEntry(embeddable.passage, no_vector, sparse) for embeddable, sparse in zip(texts, lexical, strict=True)
    ]


def lexical_vectors(
    chunks: Sequence[Chunk], texts: Sequence[EmbeddableText], language: Language
) -> list[dict[int, float]]:
    """The lexical vector of each chunk's text. Where a section was cut into several chunks, each also has its terms."""
    vectors: list[dict[int, float]] = []
    of_section: tuple[str, dict[int, float]] = ("", {})
    for chunk, embeddable in zip(chunks, texts, strict=True):
        vector = encode_passage(embeddable.text, language)
        if chunk.section:
            section = f"{embeddable.text.removesuffix(chunk.text)}{chunk.section}"
            if of_section[0] != section:
                of_section = (section, encode_passage(section, language))
            vector = blend(vector, of_section[1])
        vectors.append(vector)
    return vectors


def chunk_size(embedder: EmbedderInfo, tokenizer: Tokenizer, chunk_tokens: int) -> int:
    """Tokens in a chunk: `chunk_tokens`, or fewer where the embedder reads less.

    The embedder also reads its special tokens and a passage's title and headings. These get at most an eighth of what
    it reads.
    """
    special_tokens = tokenizer.num_special_tokens_to_add(False)
    prefix_tokens = min(_PREFIX_TOKENS, embedder.max_tokens // 8)
    return max(1, min(chunk_tokens, embedder.max_tokens - special_tokens - prefix_tokens))


def embeddable_texts(
    task: DocumentTask,
    title: str,
    language: Language,
    chunks: Sequence[Chunk],
    tokenizer: Tokenizer,
    max_tokens: int,
) -> list[EmbeddableText]:
    """One passage per chunk, in order. `max_tokens` is what the embedder reads, special tokens included.

    Where title, headings and chunk are longer than that together, words of the title and headings are left out, the
    first ones first. The chunk is never cut.
    """
    prefixes = [_PATH_SEPARATOR.join(_without_repeats(title, chunk.headings)) for chunk in chunks]
    full_texts = [_join(prefix, chunk.text) for prefix, chunk in zip(prefixes, chunks, strict=True)]
    token_counts = [len(encoding) for encoding in tokenizer.encode_batch(full_texts)]
    result: list[EmbeddableText] = []
    for chunk, prefix, text, tokens in zip(chunks, prefixes, full_texts, token_counts, strict=True):
        if tokens > max_tokens:
            text = _join(_shortened(prefix, chunk.text, tokenizer, max_tokens), chunk.text)
        result.append(EmbeddableText(_passage(task, title, language, chunk), text))
    return result


def passage_id(task: DocumentTask, position: int) -> str:
    """64 hexadecimal digits, the same for the same tenant, document, version and position, and for no others."""
    name = "\0".join((task.tenant_id, task.document_id, task.version, str(position)))
    return hashlib.sha256(name.encode()).hexdigest()


def _passage(task: DocumentTask, title: str, language: Language, chunk: Chunk) -> Passage:
    metadata = dict(task.metadata)
    of_chunk = (list(chunk.headings), chunk.page, list(chunk.characters), list(chunk.of_section))
    location = dict(zip(LOCATION_KEYS, of_chunk, strict=True))
    for key in LOCATION_KEYS:
        if location[key]:
            metadata.setdefault(key, location[key])  # a key that the caller set keeps the caller's value
    return Passage(
        id=passage_id(task, chunk.position),
        document_id=task.document_id,
        version=task.version,
        tenant_id=task.tenant_id,
        owner=task.owner,
        collection=task.collection,
        language=language,
        position=chunk.position,
        title=title,
        text=chunk.text,
        metadata=metadata,
    )


def _without_repeats(title: str, headings: Sequence[str]) -> list[str]:
    """The path from the title down. A document's first heading is often its title again."""
    return [name for name in (title, *(heading for heading in headings if heading != title)) if name]


def _join(prefix: str, text: str) -> str:
    return f"{prefix}\n{text}" if prefix else text


def _shortened(prefix: str, text: str, tokenizer: Tokenizer, max_tokens: int) -> str:
    """The last words of the prefix, as many as leave the model room for the text."""
    words = prefix.split()
    fitting, too_many = 0, len(words)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if len(tokenizer.encode(_join(" ".join(words[-middle:]), text))) <= max_tokens:
            fitting = middle
        else:
            too_many = middle
    return " ".join(words[len(words) - fitting :]).removeprefix(_PATH_SEPARATOR.lstrip())
