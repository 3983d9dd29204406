"""Documents named as https:// (or http://, where that is allowed)."""

from __future__ import annotations

from typing import Final

from yarl import URL

from deployments.errors import InvalidRequest, Unreachable
from serve_app.outbound.fetched import Fetched, SizeBudget
from serve_app.outbound.http import Http

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAY_PASS: Final = (408, 425, 429)
"""Refusals that a later request may not meet; the others of 4xx stay."""
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "rag-serve"}
_STEP_BYTES: Final = 64 * 1024


class WebSource:
    def __init__(self, http: Http, max_redirects: int) -> None:
        self._http = http
        self._max_redirects = max_redirects

    async def fetch(self, uri: str, budget: SizeBudget, tenant_id: str) -> Fetched:
        """Under the last name of the path that was asked for: where redirects lead may change from day to day.

        Raises InvalidRequest, DocumentTooLarge, Unreachable.
        """
        url = uri
        for _ in range(self._max_redirects + 1):
            async with self._http.request("GET", url, tenant_id=tenant_id, headers=_HEADERS) as answer:
                if answer.status not in _REDIRECTS:
                    _expect_document(answer.status)
                    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
                    if encoding not in ("", "identity"):
                        raise InvalidRequest(f"its server sends it as {encoding[:20]}, though asked not to compress")
                    budget.check(answer.content_length or 0)
                    data = bytearray()
                    async for piece in answer.content.iter_chunked(_STEP_BYTES):
                        budget.take(len(piece))
                        data += piece
                    return Fetched(bytes(data), URL(uri).name, answer.headers.get("Content-Type", ""))
                url = _target(answer.url, answer.headers.get("Location", ""))
        raise InvalidRequest(f"redirects more than {self._max_redirects} times")


def _expect_document(status: int) -> None:
    if status >= 500 or status in _MAY_PASS:
        raise Unreachable(f"its server answered {status}")
    if status != 200:
        raise InvalidRequest(f"its server answered {status}, not with a document")


def _target(asked: URL, location: str) -> str:
    try:
        target = URL(location)
    except ValueError:
        target = URL()
    if not location or not target:
        raise InvalidRequest("its server redirects to no valid URL")
    return str(asked.join(target))
