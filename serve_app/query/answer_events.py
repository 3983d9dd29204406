"""The events of an answer's stream.

Their fields are the keys of the JSON that is sent, and never change. `schemas/queries.py` adds the key `type`.
The OpenAPI document publishes the classes' docstrings. Notes for developers are below the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.types import ToolCallDelta, Usage


@dataclass(frozen=True, slots=True)
class Source:
    """A passage shown to the reader; its position in `Sources.sources`, from 1, is the number that citations use."""

    id: str
    """The passage's id."""
    document_id: str
    title: str
    """The document's title."""
    text: str
    score: float
    """The score of the last stage that scored the passage. Scores of different queries are not comparable."""
    metadata: Mapping[str, Any]
    """The document's metadata, as its owner gave it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """In the order of their numbers, which may differ from the order of scores."""

    query_id: str
    sources: tuple[Source, ...]
    """Empty if no passage was found or fits into the prompt."""


@dataclass(frozen=True, slots=True)
class Chunk:
    query_id: str
    content: str
    """The next piece of the answer's text. The answer is all chunks in the order in which they are sent."""


@dataclass(frozen=True, slots=True)
class RawChunk(Chunk):
    """A chunk of a raw model's answer: with the usage so far, where the query's sampling is `counted`, and the next
    parts of the calls that it makes, where the query has tools."""

    usage: Usage | None
    tool_calls: tuple[ToolCallDelta, ...]


GroundingStatus = Literal["supported", "unsupported", "uncited", "unchecked"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Characters `start` to `end` of the answer, a statement, cite these sources (their ids).

    It is sent once the statement has ended. A statement that cites nothing has `sources` empty and is `uncited`.
    """

    query_id: str
    sources: tuple[str, ...]
    start: int
    """Offset of the first character, in Unicode code points from the start of the answer."""
    end: int
    """Offset after the last character: the text is `answer[start:end]`."""
    status: Literal["supported", "unsupported", "uncited"] | None = None
    """`supported`: the sources hold its numbers, dates and references, and most of its words. `unsupported`: they do
    not. None if it was not checked, or states nothing."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """How many of the answer's statements its sources support. Questions, courtesies, headings and words that there is
    no answer are no statements."""

    supported: int
    unsupported: int
    uncited: int
    """Statements that cite no source."""
    unchecked: int
    """Statements beyond the bounds of the check, or in another language than their sources."""
    share: float | None
    """Supported ones among supported, unsupported and uncited ones. None if there are none of these."""


@dataclass(frozen=True, slots=True)
class Complete:
    """`timings`: milliseconds per stage. `engine` and `model`: what generated the answer."""

    query_id: str
    usage: Usage
    timings: Mapping[str, float]
    """Also `sources`, `first_token` and `total`: milliseconds until these moments, from when the query began to wait
    for its slot in generation. That wait is the stage `slot`."""
    finish_reason: str
    """`stop`: the answer is complete. `length`: it reached `max_tokens`. `cancelled`: the query was cancelled.
    `no_answer`: the passages hold no answer, none that is sure, or too little of it; its text then says so."""
    engine: str
    """The name of the generation backend, for example `vllm`."""
    model: str | None
    """The name of the model. None if the backend has none."""
    degraded: tuple[str, ...] = field(default=())
    """The stages that failed and were skipped or replaced, in the order in which they failed."""
    confidence: float | None = None
    """The probability that the answer answers the question, from 0 to 1. None if the engine cannot tell: only the
    extractive engine can."""
    grounding: Grounding | None = None
    """What the check of the answer's statements against their sources found. None if answers are not checked."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The last event of a stream that failed; `type` is "error" on the wire."""

    query_id: str
    error: str
    """The error's text."""
    code: str
    """The error's code, as in the answers of other routes."""
    retryable: bool
    """Whether the same request may succeed later."""


AnswerEvent = Sources | Chunk | Citation | Complete | Failure
"""Exactly one Complete or Failure ends a stream that is sent.

The pipeline never yields Failure: it raises RagError, and `api/streaming.py` sends the error as Failure.
"""
