"""The form of an error's answer: problem+json, and on paths of other APIs the form that their clients read.

Each form is made from the problem, so that there is one source of what an error says. `api/compatible` registers the
forms of other APIs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from serve_app.schemas.operations import Problem

ProblemMembers = Mapping[str, Any]
"""A problem's members (RFC 9457), with `status`, `detail`, `code` and `request_id`."""


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """`body` makes an answer, as `model` describes it, of a problem and of the field that is wrong, None for none.

    `invalid_status` is the status of what the service itself answers with 422.
    """

    media_type: str
    model: type[BaseModel]
    body: Callable[[ProblemMembers, str | None], dict[str, Any]]
    invalid_status: int

    def status(self, status: int) -> int:
        return self.invalid_status if status == 422 else status


PROBLEM = ErrorFormat("application/problem+json", Problem, lambda problem, field: dict(problem), 422)
_FORMAT_BY_ROOT: dict[str, ErrorFormat] = {}
_FORMAT_WITHOUT_ROUTE: dict[str, ErrorFormat] = {}


def register_error_format(error_format: ErrorFormat, *roots: str) -> ErrorFormat:
    """Give the errors of all paths at and below the roots this form."""
    _FORMAT_BY_ROOT.update(dict.fromkeys(roots, error_format))
    return error_format


def register_format_without_route(error_format: ErrorFormat, *roots: str) -> None:
    """Give this form to the answer that no route has a path below the roots."""
    _FORMAT_WITHOUT_ROUTE.update(dict.fromkeys(roots, error_format))


def error_format_of(path: str, *, has_route: bool = True) -> ErrorFormat:
    """The error format of a path. Before a request is routed, it is the one of paths that have a route."""
    formats = _FORMAT_BY_ROOT if has_route else _FORMAT_BY_ROOT | _FORMAT_WITHOUT_ROUTE
    for root, error_format in formats.items():
        if f"{path}/".startswith(f"{root}/"):
            return error_format
    return PROBLEM


def error_formats() -> Iterable[ErrorFormat]:
    """Each of them once."""
    return dict.fromkeys((PROBLEM, *_FORMAT_BY_ROOT.values()))
