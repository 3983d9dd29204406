"""The messages of an answer's stream, as plain values and as they are on the wire; the keys never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deployments.types import Usage


@dataclass(frozen=True, slots=True)
class Source:
    """A passage shown to the reader; its place in `Sources.sources`, from 1, is the number that citations use."""

    id: str
    document_id: str
    title: str
    text: str
    score: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """In the order of their numbers, which need not be that of their scores."""

    query_id: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    query_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Characters `start` to `end` of the answer rest on these sources (their ids)."""

    query_id: str
    sources: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Complete:
    """`timings` in milliseconds per stage; `engine` and `model` name what generated."""

    query_id: str
    usage: Usage
    timings: Mapping[str, float]
    finish_reason: str
    engine: str
    model: str | None
    degraded: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Failure:
    """The stream's last message when it could not be completed; `type` is "error" on the wire."""

    query_id: str
    error: str
    code: str
    retryable: bool


Message = Sources | Chunk | Citation | Complete | Failure

TYPES: Mapping[type[Message], str] = {
    Sources: "sources",
    Chunk: "chunk",
    Citation: "citation",
    Complete: "complete",
    Failure: "error",
}


def wire(message: Message) -> dict[str, Any]:
    """The message as its JSON object, `type` first."""
    return {"type": TYPES[type(message)], **asdict(message)}
