"""Pages of lists whose rows are chosen by what no query can tell: read in batches, and a bounded number a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

BATCH = 200
"""Rows that a list reads at once: their metadata may be large."""


class Row(Protocol):
    @property
    def id(self) -> Any: ...


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """`next` is the `after` of the next page; None: this is the last one."""

    rows: Sequence[R]
    next: str | None


async def page(
    read: Callable[[str, int], Awaitable[Sequence[R]]],
    passes: Callable[[R], bool] | None,
    *,
    after: str,
    limit: int,
    max_scanned: int,
) -> Page[R]:
    """Those of the rows after the id `after` that pass, at most `limit`; `read` gives up to so many after an id.

    So that a page stays bounded whatever it finds, it looks at no more than `max_scanned` rows where some may not pass:
    it may then hold fewer than `limit` rows, or none, and still name a next one.
    """
    found: list[R] = []
    scanned, most = 0, limit if passes is None else max_scanned
    while scanned < most:
        asked = min(BATCH, most - scanned)
        rows = await read(after, asked)
        for row in rows:
            scanned, after = scanned + 1, row.id
            if passes is None or passes(row):
                found.append(row)
            if len(found) == limit:
                return Page(found, after)
        if len(rows) < asked:
            return Page(found, None)
    return Page(found, after)
