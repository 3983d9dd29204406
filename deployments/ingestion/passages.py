"""Chunks → passages, and the text of each that the embedder and the lexical encoder read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from deployments.ingestion.base import Chunk, DocumentTask
from deployments.types import EmbedderInfo, Language, Passage

LOCATION_KEYS = ("headings", "page")
"""The keys of a passage's metadata that say where in its document it is."""

_PATH_SEPARATOR = " › "
_PREFIX_TOKENS = 32
"""Room that a passage leaves for its title and headings, where the model reads enough for that."""


@dataclass(frozen=True, slots=True)
class EmbeddableText:
    """`text` is the passage's text below its title and headings, at most as long as the embedder reads."""

    passage: Passage
    text: str


def load_tokenizer(embedder: EmbedderInfo) -> Tokenizer:
    """The embedder's tokenizer, neither truncating nor padding, so that it counts the whole text and nothing else."""
    tokenizer = Tokenizer.from_str(embedder.tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def chunk_size(embedder: EmbedderInfo, tokenizer: Tokenizer, chunk_tokens: int) -> int:
    """The configured size, or what the model reads less its special tokens and room for title and headings.

    The room is at most an eighth of what the model reads.
    """
    special = tokenizer.num_special_tokens_to_add(False)
    return max(1, min(chunk_tokens, embedder.max_tokens - special - min(_PREFIX_TOKENS, embedder.max_tokens // 8)))


def passages(
    task: DocumentTask,
    title: str,
    language: Language,
    chunks: Sequence[Chunk],
    tokenizer: Tokenizer,
    max_tokens: int,
) -> list[EmbeddableText]:
    """One passage per chunk. `max_tokens` is what the embedder reads, special tokens included: where prefix and
    chunk are longer together, the prefix loses words from its left, never the chunk."""
    prefixes = [_PATH_SEPARATOR.join(_without_repeats(title, chunk.headings)) for chunk in chunks]
    wholes = [_join(prefix, chunk.text) for prefix, chunk in zip(prefixes, chunks, strict=True)]
    counts = [len(encoding) for encoding in tokenizer.encode_batch(wholes)]
    result: list[EmbeddableText] = []
    for chunk, prefix, whole, count in zip(chunks, prefixes, wholes, counts, strict=True):
        text = whole if count <= max_tokens else _join(_cut(prefix, chunk.text, tokenizer, max_tokens), chunk.text)
        result.append(EmbeddableText(_passage(task, title, language, chunk), text))
    return result


def passage_id(task: DocumentTask, position: int) -> str:
    """64 hexadecimal digits, the same for the same tenant, document, version and position, and for no others."""
    name = "\0".join((task.tenant_id, task.document_id, task.version, str(position)))
    return hashlib.sha256(name.encode()).hexdigest()


def _passage(task: DocumentTask, title: str, language: Language, chunk: Chunk) -> Passage:
    metadata = dict(task.metadata)
    location = {"headings": list(chunk.headings), "page": chunk.page}
    for key in LOCATION_KEYS:
        if location[key]:
            metadata.setdefault(key, location[key])  # a caller's own key of that name stays the caller's
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


def _cut(prefix: str, text: str, tokenizer: Tokenizer, max_tokens: int) -> str:
    """The longest end of the prefix, in whole words, that leaves the model room for the text."""
    words = prefix.split()
    short, long = 0, len(words)  # so many words fit; so many do not
    while long - short > 1:
        middle = (short + long) // 2
        if len(tokenizer.encode(_join(" ".join(words[-middle:]), text))) <= max_tokens:
            short = middle
        else:
            long = middle
    return " ".join(words[len(words) - short :]).removeprefix(_PATH_SEPARATOR.lstrip())
