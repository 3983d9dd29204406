"""The events of an answer's stream. Their fields are the keys of the JSON that is sent, which never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.types import Usage


@dataclass(frozen=True, slots=True)
class Source:
    """A passage shown to the reader; its position in `Sources.sources`, from 1, is the number that citations use."""

    id: str
    document_id: str
    title: str
    text: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """In the order of their numbers, which may differ from the order of scores."""

    query_id: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    query_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Characters `start` to `end` of the answer are supported by these sources (their ids)."""

    query_id: str
    sources: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Complete:
    """`timings`: milliseconds per stage. `engine` and `model`: what generated the answer."""

    query_id: str
    usage: Usage
    timings: Mapping[str, float]
    finish_reason: str
    engine: str
    model: str | None
    degraded: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Failure:
    """The last event of a stream that failed; `type` is "error" on the wire."""

    query_id: str
    error: str
    code: str
    retryable: bool


AnswerEvent = Sources | Chunk | Citation | Complete | Failure
