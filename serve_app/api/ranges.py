"""Conditional requests and requests for a range of bytes (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

from deployments.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=([0-9]{0,40})-([0-9]{0,40})", re.IGNORECASE)
"""More digits than any size has are no range. They would only cost time."""
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Part(NamedTuple):
    """The bytes from `start` up to `stop`, without the one at `stop`."""

    start: int
    stop: int


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the bytes whose strong entity tag is `etag`. The answer is then 304."""
    names = (if_none_match or "").strip()
    return names == "*" or etag in _ENTITY_TAG.findall(names)


def requested_part(range: str | None, if_range: str | None, *, etag: str, size: int) -> Part | None:
    """The part that Range asks for of `size` bytes whose strong entity tag is `etag`; None for all of them.

    All bytes are also the answer to several ranges, to what is no range, and to an If-Range of other bytes. A date in
    If-Range is one, since no Last-Modified is sent. Raises RangeNotSatisfiable.
    """
    found = _ONE_RANGE.fullmatch((range or "").strip())
    if found is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = found.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, stop = max(0, size - int(last)), size
    else:
        return None
    if start >= size:
        raise RangeNotSatisfiable(f"Range names no byte of the {size} bytes; ask for bytes=0-{max(0, size - 1)}")
    return Part(start, stop)
