"""Who is acting, for as long as one request runs: what the audit log names."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """`id` is a key's id, or `system` for what the service does by itself."""

    id: str = "system"
    role: str = "system"
    request_id: str = ""


SYSTEM = Actor()
_current: ContextVar[Actor] = ContextVar("actor", default=SYSTEM)


def current() -> Actor:
    return _current.get()


def act_as(actor: Actor) -> None:
    """From here on, in this request's context."""
    _current.set(actor)
