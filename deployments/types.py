"""Frozen values that travel between stages. No behaviour beyond construction; every field is picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deployments.filters import Filter

Language = Literal["hr", "en"]
TextKind = Literal["query", "passage"]
SparseVector = Mapping[int, float]
"""Term id (unsigned 32 bit) → weight > 0."""
Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VisibleVersions:
    """Which versions of a tenant's documents a search may find: names up to and including `newest`, except `hidden`.

    Passages of hidden versions may be in the index: incomplete, replaced or deleted ones.
    """

    newest: str
    hidden: tuple[str, ...] = ()

    def includes(self, version: str) -> bool:
        return version <= self.newest and version not in self.hidden


@dataclass(frozen=True, slots=True)
class Scope:
    """What one asker may see: the tenant's shared documents plus that user's private ones.

    `user_id` empty means no private documents; `collections` empty means all of them; `visible` None means every
    version.
    """

    tenant_id: str
    user_id: str = ""
    collections: tuple[str, ...] = ()
    filter: Filter | None = None
    visible: VisibleVersions | None = None


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """One version of a document, as its passages name it."""

    document_id: str
    version: str


@dataclass(frozen=True, slots=True)
class VersionCopy:
    """A document's version, to be written once more as the version `to`: same texts, same vectors, other metadata.

    `metadata` takes the place of the keys in `replaces`; what else a passage's metadata holds, as its headings, stays.
    """

    document_id: str
    version: str
    to: str
    metadata: Mapping[str, Any]
    replaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document as it is indexed and cited.

    `id` is deterministic (document id, version, position); `version` is another each time that new content is accepted;
    `owner` is empty for a document
    that the whole tenant may see, else the user whose private document it is.
    """

    id: str
    document_id: str
    version: str
    tenant_id: str
    owner: str
    collection: str
    language: Language
    position: int
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A passage with both of its vectors: dense of shape (dimension,), unit length, and lexical."""

    passage: Passage
    dense: npt.NDArray[np.float32]
    lexical: SparseVector


@dataclass(frozen=True, slots=True)
class Scores:
    """A candidate's score at each stage; None where that stage did not see it."""

    dense: float | None = None
    lexical: float | None = None
    fused: float | None = None
    rerank: float | None = None

    @property
    def final(self) -> float:
        """The score of the last stage that ranked the candidate."""
        return next((s for s in (self.rerank, self.fused) if s is not None), 0.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    passage: Passage
    scores: Scores


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What an embedder is.

    `fingerprint` names the vector space: equal only if vectors may be compared. `max_tokens` counts the
    model's own tokens, special ones included. `tokenizer_json` is a serialised `tokenizers.Tokenizer`.
    `languages` are those the model knows; empty means any.
    """

    model: str
    fingerprint: str
    dimension: int
    max_tokens: int
    tokenizer_json: str
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors`: float32, shape (texts, dimension), unit length, in the order of the texts."""

    vectors: Matrix
    fingerprint: str
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """Both halves of a question, and who asks. `limit` candidates are taken from each half. Of one half there may be
    nothing: no terms, or no vector beside the name of the embedder whose passages are meant."""

    scope: Scope
    dense: Embeddings
    lexical: SparseVector
    language: Language
    limit: int


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate. `passages` are those in the prompt, in the order of their numbers from 1.

    `model` empty is the deployment's own, else the name of one of its adapters. The answer ends before the first of
    `stop` that it would hold. `top_p` and the penalties are for engines that draw tokens; the defaults change nothing.
    """

    query_id: str
    tenant_id: str
    language: Language
    question: str
    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    model: str = ""
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counts them (the extractive engine counts words). `cached_tokens` of the prompt's came from
    the prefix cache, which holds only what the same tenant asked."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of an answer. The last one of a stream, and only it, has `finish_reason` and `usage`."""

    text: str
    finish_reason: Literal["stop", "length", "cancelled", "no_answer"] | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class GenerationLoad:
    """Requests inside one replica's engine."""

    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class StageStatus:
    """What serves a stage. `engine` is the backend's name, `model` its model or None."""

    ready: bool
    engine: str
    model: str | None = None
    detail: str | None = None
