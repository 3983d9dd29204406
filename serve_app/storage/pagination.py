"""Pages of lists whose rows are partly chosen outside SQL. Rows are read in batches, a bounded number for each page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from deployments.errors import InvalidRequest

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


def parse_after(form: re.Pattern[str], after: str) -> re.Match[str]:
    """The parts of an `after` whose form is known. Raises InvalidRequest."""
    if (match := form.fullmatch(after)) is None:
        raise InvalidRequest(
            f"after: {after[:80]!r} is not the `next` of a page; take it as it was sent", field="after"
        )
    return match


async def page(
    read: Callable[[str, int], Awaitable[Sequence[R]]],
    passes: Callable[[R], bool] | None,
    *,
    after: str,
    limit: int,
    max_scanned: int,
) -> Page[R]:
    """At most `limit` of the rows after the id `after` that pass. `read` takes an id and a number of rows.

    Where rows may not pass, at most `max_scanned` rows are read. The page may then hold fewer than `limit` rows, or
    none, and still name a next one.
    """
    passing: list[R] = []
    scanned, scan_limit = 0, limit if passes is None else max_scanned
    while scanned < scan_limit:
        batch_size = min(BATCH, scan_limit - scanned)
        rows = await read(after, batch_size)
        for row in rows:
            scanned, after = scanned + 1, row.id
            if passes is None or passes(row):
                passing.append(row)
            if len(passing) == limit:
                return Page(passing, after)
        if len(rows) < batch_size:
            return Page(passing, None)
    return Page(passing, after)
