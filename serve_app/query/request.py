"""What the pipeline is asked, and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.types import Candidate, Language, Message, Sampling, Scope, Tools


@dataclass(frozen=True, slots=True)
class Query:
    """One question, authenticated, validated and admitted.

    `preamble` goes before the system part of the prompt, `history` after it. An empty `model` means the deployment's
    own. The answer ends before the first of the strings in `stop`. `tools`: of raw models. `waited_s`: for its slot in
    generation.
    """

    id: str
    text: str
    language: Language
    scope: Scope
    top_k: int
    candidates: int
    max_tokens: int
    deadline_s: float
    first_token_s: float
    waited_s: float = 0.0
    temperature: float = 0.0
    seed: int | None = None
    preamble: str = ""
    model: str = ""
    history: tuple[Message, ...] = ()
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    sampling: Sampling = field(default_factory=Sampling)
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Candidates best first, milliseconds per stage, and the stages that failed and were done without."""

    candidates: tuple[Candidate, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
