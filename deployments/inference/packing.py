"""Chooses which of the waiting items share a model's next forward pass."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """`tokens`: what the model reads of the item, special tokens and a prompt's included."""

    @property
    def tokens(self) -> int: ...


S = TypeVar("S", bound=Sized)
_TOKENS = attrgetter("tokens")
_CHEAP_PADDING = 16
"""Tokens of padding that cost less than another pass."""
_INSERT_SINGLY = 32
"""Up to so many new items are inserted into the sorted list one by one; for more, sorting it again is faster."""


@dataclass(frozen=True, slots=True)
class PassLimits:
    """The largest pass: items, and tokens with each item padded to the longest. A longer item has a pass alone."""

    items: int
    tokens: int


class PassQueue(Generic[S]):
    """Items in order of arrival, from which passes are taken.

    The oldest item is always in the next pass, so that none waits for ever. The others in the pass are nearest to it
    in length. None is padded to more than about twice its own length: computing padding is wasted work.
    """

    def __init__(self, limits: PassLimits) -> None:
        self._limits = limits
        self._arrived: dict[S, None] = {}
        self._by_length: list[S] = []
        self.tokens = 0
        """Tokens of all waiting items."""

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, items: Sequence[S]) -> None:
        """Add items that are not in the queue. Items are told apart by their hash."""
        self._arrived.update(dict.fromkeys(items))
        self.tokens += sum(item.tokens for item in items)
        if len(items) > _INSERT_SINGLY:
            self._by_length = sorted([*self._by_length, *items], key=_TOKENS)
        else:
            for item in items:
                bisect.insort(self._by_length, item, key=_TOKENS)

    def take(self, shares: int = 1) -> list[S]:
        """Remove and return the items of the next pass, shortest first; empty if none wait.

        `shares`: divide the waiting tokens among so many passes, which are to run at the same time.
        """
        if not self._arrived:
            return []
        oldest = next(iter(self._arrived))
        low = self._index(oldest)
        high = low + 1
        max_tokens = self._limits.tokens if shares == 1 else min(self._limits.tokens, -(-self.tokens // shares))
        while high - low < self._limits.items and (side := self._nearer_neighbour(low, high)):
            longest = self._by_length[high if side > 0 else high - 1].tokens
            if (high - low + 1) * longest > max_tokens:
                break
            low, high = (low, high + 1) if side > 0 else (low - 1, high)
        batch = self._by_length[low:high]
        del self._by_length[low:high]
        for item in batch:
            del self._arrived[item]
            self.tokens -= item.tokens
        return batch

    def remove(self, items: Iterable[S]) -> None:
        """Remove those of the items that still wait."""
        waiting = [item for item in items if item in self._arrived]
        for item in waiting:
            del self._arrived[item]
            self.tokens -= item.tokens
        if waiting:
            self._by_length = [item for item in self._by_length if item in self._arrived]

    def _index(self, item: S) -> int:
        return self._by_length.index(item, bisect.bisect_left(self._by_length, item.tokens, key=_TOKENS))

    def _nearer_neighbour(self, low: int, high: int) -> int:
        """Which neighbour joins the items from `low` to `high`: -1 the shorter one, 1 the longer one, 0 neither."""
        shortest, longest = self._by_length[low].tokens, self._by_length[high - 1].tokens
        shorter = self._by_length[low - 1].tokens if low else None
        longer = self._by_length[high].tokens if high < len(self._by_length) else None
        if shorter is not None and not _are_alike(shorter, longest):
            shorter = None
        if longer is not None and not _are_alike(shortest, longer):
            longer = None
        if shorter is None:
            return 0 if longer is None else 1
        return -1 if longer is None or shortest - shorter <= longer - longest else 1


def _are_alike(shorter: int, longer: int) -> bool:
    return longer <= 2 * shorter or longer - shorter <= _CHEAP_PADDING
