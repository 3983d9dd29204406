"""The form of an error's answer: problem+json, and on paths that other APIs have, the form that their clients read.

Each form is made from the problem, so that there is one source of what an error says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.api.compatible import openai

Told = Mapping[str, Any]
"""A problem's members (RFC 9457), with `status`, `detail`, `code` and `request_id`."""
_FIRST_WORD = re.compile(r"([a-z_]+)(?:[.\[]\S*)?(?=:| is | has | names )")
_FIELDS = openai.ChatRequest.model_fields.keys() | openai.EmbeddingsRequest.model_fields.keys()

_OPENAI_CODES = {"unauthenticated": "invalid_api_key", "prompt_too_long": "context_length_exceeded"}
"""Codes that OpenAI's clients know by another name."""


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """`body` makes an answer of a problem and of the field that it is about, where that is known; `schema` names the
    body's. `invalid` is the status of what the service itself would answer with 422."""

    media_type: str
    schema: str
    body: Callable[[Told, str | None], dict[str, Any]]
    invalid: int

    def status(self, status: int) -> int:
        return self.invalid if status == 422 else status


def _openai_error(problem: Told, field: str | None) -> dict[str, Any]:
    status: int = problem["status"]
    kind, code = "invalid_request_error", _OPENAI_CODES.get(problem["code"], problem["code"])
    if status == 429:
        kind = code = "rate_limit_exceeded"
    elif status >= 500:
        kind = "server_error"
    return {"error": {"message": problem["detail"], "type": kind, "param": field or _named(problem), "code": code}}


def _named(problem: Told) -> str | None:
    """The field that a sentence begins with: every refusal of a field's value does."""
    found = _FIRST_WORD.match(problem["detail"])
    return found[1] if found and found[1] in _FIELDS and problem["status"] < 500 else None


PROBLEM = ErrorFormat("application/problem+json", "Problem", lambda problem, field: dict(problem), 422)
OPENAI = ErrorFormat("application/json", "OpenAIError", _openai_error, 400)
COHERE = ErrorFormat(
    "application/json",
    "CohereError",
    lambda problem, field: {"id": problem["request_id"] or "", "message": problem["detail"]},
    400,
)
_ROOTS = {"/v1/chat": OPENAI, "/v1/embeddings": OPENAI, "/v1/models": OPENAI, "/v1/rerank": COHERE, "/v2": COHERE}


def of(path: str) -> ErrorFormat:
    """The error format of a path, whether it is a route's or nobody's."""
    return next((error_format for root, error_format in _ROOTS.items() if f"{path}/".startswith(f"{root}/")), PROBLEM)
