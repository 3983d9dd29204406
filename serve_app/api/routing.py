"""Which requests have a route."""

from __future__ import annotations

from starlette.routing import Match
from starlette.types import Scope


def has_route(scope: Scope) -> bool:
    """Whether a route has the request's path and method."""
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)
