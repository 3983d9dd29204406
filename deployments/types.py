"""The values that stages exchange: frozen, and every field can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from deployments.filters import Filter

Language = Literal["hr", "en"]
TextKind = Literal["query", "passage"]
SparseVector = Mapping[int, float]
"""Term id (unsigned 32 bit) → weight > 0."""
Vector = npt.NDArray[np.float32]
"""Shape (dimension,)."""
Matrix = npt.NDArray[np.float32]
"""Shape (rows, dimension)."""


@dataclass(frozen=True, slots=True)
class IndexGeneration:
    """One filling of the index for a tenant, in the Milvus collection that is named by it.

    `embedder` is the fingerprint of the embedder that made its vectors, of shape (dimension,). `dimension` is 0 where a
    former release did not keep it.
    """

    name: str
    embedder: str
    dimension: int


@dataclass(frozen=True, slots=True)
class GenerationSize:
    """What the index has of a generation: the tenant's `passages`, hidden ones included, and the vectors' `dimension`.

    Both are 0 for a generation that the index does not have.
    """

    passages: int
    dimension: int


class VersionRun(NamedTuple):
    """Versions whose names lie between `first` and `last`, both included."""

    first: str
    last: str


@dataclass(frozen=True, slots=True)
class VisibleVersions:
    """Which versions of a tenant's documents a search may find: names up to and including `newest`, except `hidden`
    and those in `hidden_runs`, which do not overlap and are in order.

    Passages of hidden versions may be in the index: incomplete, replaced or deleted ones. `generation` is the live one,
    the only one that a search may look in; None while nothing is indexed.
    """

    newest: str
    hidden: tuple[str, ...] = ()
    generation: IndexGeneration | None = None
    hidden_runs: tuple[VersionRun, ...] = ()

    def includes(self, version: str) -> bool:
        is_in_run = any(first <= version <= last for first, last in self.hidden_runs)
        return version <= self.newest and version not in self.hidden and not is_in_run


@dataclass(frozen=True, slots=True)
class Scope:
    """What one asker may see: the tenant's shared documents, and the user's private ones.

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
    """A request to write a document's version again as the version `to`: same texts and vectors, other metadata.

    `metadata` replaces the keys in `replaces`. Other keys of a passage's metadata, such as its headings, stay.
    """

    document_id: str
    version: str
    to: str
    metadata: Mapping[str, Any]
    replaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document as it is indexed and cited.

    `id` follows from tenant, document id, version and position. `version` is new each time content is accepted.
    `owner` is the user whose private document it is, or empty for a document that the whole tenant may see. `position`
    counts the version's passages from 0.
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

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings that it is under, outermost first, as ingestion recorded them. A caller's own value may be
        anything."""
        headings = self.metadata.get("headings")
        if not isinstance(headings, list | tuple):
            return ()
        return tuple(heading for heading in headings if isinstance(heading, str) and heading)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A passage with its vectors: `dense` of shape (dimension,) and unit length, and `lexical`.

    `tokens`: its token vectors as `late_interaction.pack` gives them, empty without.
    """

    passage: Passage
    dense: Vector
    lexical: SparseVector
    tokens: bytes = b""


@dataclass(frozen=True, slots=True)
class Scores:
    """A candidate's score at each stage; None where the stage did not score it."""

    dense: float | None = None
    lexical: float | None = None
    fused: float | None = None
    rerank: float | None = None

    @property
    def final(self) -> float:
        """The score of the last stage that ranked the candidate."""
        return next((score for score in (self.rerank, self.fused) if score is not None), 0.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that a search found, with its scores."""

    passage: Passage
    scores: Scores


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """Describes an embedder.

    `fingerprint` names the vector space: vectors can be compared only if their fingerprints are equal. `max_tokens` is
    what the model reads of a passage at once: special tokens included, a prompt's not. `tokenizer_json` is a serialised
    `tokenizers.Tokenizer`. `languages` are those the model knows; empty means any.
    """

    model: str
    fingerprint: str
    dimension: int
    max_tokens: int
    tokenizer_json: str
    languages: tuple[str, ...] = ()

    @property
    def identity(self) -> EmbedderIdentity:
        return EmbedderIdentity(self.model, self.fingerprint, self.dimension)


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """Which embedder it is: the part of `EmbedderInfo` that is small. Vectors have the shape (dimension,)."""

    model: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class LanguageShift:
    """What is added to a question's vectors before they are compared with passages of `language`, each of shape
    (dimension,): `text` to its vector, `token` to its token vectors, None if it has none."""

    language: Language
    text: Vector
    token: Vector | None = None

    def shifted(self, vector: Vector) -> Vector:
        return _unit(vector + self.text)

    def shifted_tokens(self, tokens: Matrix) -> Matrix:
        return tokens if self.token is None else _unit(tokens + self.token)


def _unit(vectors: Matrix) -> Matrix:
    unit: Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
    return unit


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The texts' vectors in order, shape (texts, dimension), of unit length, by the embedder with `fingerprint`.

    Token vectors are there only where they were asked for and the model has them. `question_tokens`: those of all
    questions, shape (tokens, dimension). `passage_tokens`: each passage's, as `late_interaction.pack` gives them.
    `shift`: what is added to a single question for passages of another language.
    """

    vectors: Matrix
    fingerprint: str
    languages: tuple[str, ...] = ()
    question_tokens: Matrix | None = None
    passage_tokens: tuple[bytes, ...] = ()
    shift: LanguageShift | None = None


@dataclass(frozen=True, slots=True)
class Similarities:
    """How near each sentence is to a question, in order, by the embedder named `model`.

    `cosines`: of the sentences' vectors with the question's. `nearest`: for each sentence and each token of the
    question the largest cosine with a token of the sentence, shape (sentences, question's tokens); None for a model
    without token vectors.
    """

    cosines: tuple[float, ...]
    model: str
    nearest: Matrix | None = None


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """A question's dense vector and terms, and the asker's scope. Each half gives at most `limit` candidates.

    One of the halves may be empty: no terms, or no vector.
    """

    scope: Scope
    dense: Embeddings
    lexical: SparseVector
    language: Language
    limit: int

    @property
    def generation(self) -> str:
        """The name of the generation to search: the live one, or that of the question's embedder if none is known."""
        visible = self.scope.visible
        return self.dense.fingerprint if visible is None or visible.generation is None else visible.generation.name


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model called in an earlier turn. `arguments`: the text of a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """`tool_calls`: of an assistant's turn. `tool_call_id`: which of them a message of role `tool` answers."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters`: the text of a JSON schema of an object."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, slots=True)
class Tools:
    """Functions for a model, at least one. `choice`: `auto`, it calls them if it wants to; `required`, it calls one or
    more; `named`, it calls the first, which is then the only one that counts. `max_calls`: of one answer."""

    functions: tuple[Tool, ...]
    choice: Literal["auto", "required", "named"]
    max_calls: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which tokens an engine may choose that samples them, as vLLM has it. The defaults change nothing.

    `top_k`: of this many, the likeliest; 0: of all. `min_tokens`, before which nothing ends the answer. `ignore_eos`:
    the model itself cannot end it. `json_schema`: the text of a JSON schema that the answer is to fit. `counted`: each
    delta comes with the usage so far.
    """

    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    json_schema: str | None = None
    counted: bool = False


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate. `passages` are those in the prompt, in the order of their numbers, which count from 1.

    `model` names one of the deployment's adapters; empty means its own model. The answer ends before the first of the
    `stop` sequences. `top_p`, the penalties and `sampling` are for engines that sample tokens; their defaults change
    nothing. `continued`, unless it is empty, is a text that the model continues; there are no messages then.
    `trace`: the headers of the span that waits for the answer (`deployments.telemetry.tracing`), empty for none.
    `tools` are for engines that serve a language model.
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
    sampling: Sampling = Sampling()
    continued: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counts them; the extractive engine counts words.

    `cached_tokens`: those of the prompt that came from the prefix cache, which tenants never share.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CitedSpan:
    """Characters `start` to `end` of an answer rest on the passages with these numbers, from 1."""

    numbers: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next part of a call that an answer makes. `index` counts its calls from 0. `id` and `name` are in the first
    part of each, and empty in the others; `arguments` is the next text of its arguments."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next text of an answer, or of the calls that it makes. Only the last delta of a stream has `finish_reason`
    and `confidence`, and `usage` unless the request's sampling is `counted`.

    `citations` are those that end in this text; None from an engine that only writes their markers. `confidence` is the
    probability, from 0 to 1, that the answer answers the question, None where the engine cannot tell. `degraded` names
    the stages that the engine did without. `tool_calls`: only where the request has tools.
    """

    text: str
    finish_reason: Literal["stop", "length", "cancelled", "no_answer"] | None = None
    usage: Usage | None = None
    citations: tuple[CitedSpan, ...] | None = None
    confidence: float | None = None
    degraded: tuple[str, ...] = ()
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def joined(self, following: TextDelta) -> TextDelta:
        """This delta and the one after it as one."""
        citations = None if following.citations is None else (*(self.citations or ()), *following.citations)
        calls = self.tool_calls + following.tool_calls
        return replace(following, text=self.text + following.text, citations=citations, tool_calls=calls)


@dataclass(frozen=True, slots=True)
class GenerationLoad:
    """Requests in one replica's engine: being generated, and waiting for that."""

    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class StageStatus:
    """What serves a stage. `engine` is the backend's name, `model` its model's name, `detail` why it is not ready."""

    ready: bool
    engine: str
    model: str | None = None
    detail: str | None = None
