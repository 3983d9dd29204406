"""Which origins' pages may read answers: the edge learns it from the service's answers, for those that it gives itself.

Only the service knows `api.cors_origins`. A browser shows a page no answer without these headers, so a page could not
tell that the service is away from any other failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.types import Message

MAX_ORIGINS: Final = 256
_HEADERS = ("access-control-allow-origin", "access-control-expose-headers", "vary")


class AllowedOrigins:
    """Remembers the origins whose pages the service lets read its answers, each as long as others are not newer."""

    def __init__(self) -> None:
        self._headers: LRUCache[str, dict[str, str]] = LRUCache(MAX_ORIGINS)

    def learn(self, origin: str | None, start: Message) -> None:
        """From the start of an answer of the service to a page of `origin`."""
        if origin is None:
            return
        headers = Headers(raw=start["headers"])
        if headers.get(_HEADERS[0]) == origin:
            self._headers[origin] = {name: headers[name] for name in _HEADERS if name in headers}
        else:
            self._headers.pop(origin, None)

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """What an answer of the edge to a page of `origin` is to have."""
        return {} if origin is None else self._headers.get(origin, {})
