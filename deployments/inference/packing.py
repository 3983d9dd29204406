"""Which of the items that wait share a model's next forward pass."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """`tokens`: what the model reads of it, special tokens and those of a prompt included."""

    @property
    def tokens(self) -> int: ...


S = TypeVar("S", bound=Sized)
_TOKENS = attrgetter("tokens")
_ALIKE = 16
"""Tokens of padding that cost less than a pass of their own."""
_FEW = 32
"""Items that are sooner put in their places one by one than by sorting all."""


@dataclass(frozen=True, slots=True)
class Room:
    """Of one pass: items, and tokens with each item padded to the longest. An item with more has a pass alone."""

    items: int
    tokens: int


class Waiting(Generic[S]):
    """Items in the order in which they came, from which passes are taken.

    The item that came first is in the next pass, so that none waits for ever. Beside it are those nearest to it in
    length, as long as none is padded to more than about twice its own: padding is work for nothing.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._arrived: dict[S, None] = {}
        self._by_length: list[S] = []
        self.tokens = 0
        """Of all items together."""

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, items: Sequence[S]) -> None:
        """Items that are not there yet; they are told apart by their hash."""
        self._arrived.update(dict.fromkeys(items))
        self.tokens += sum(item.tokens for item in items)
        if len(items) > _FEW:
            self._by_length = sorted([*self._by_length, *items], key=_TOKENS)
        else:
            for item in items:
                bisect.insort(self._by_length, item, key=_TOKENS)

    def take(self, share: int = 1) -> list[S]:
        """The next pass, taken out, the longest item last; none if none wait. `share`: among so many passes that run at
        the same time all that waits is to be shared."""
        if not self._arrived:
            return []
        first = next(iter(self._arrived))
        low = self._place(first)
        high = low + 1
        room = self._room.tokens if share == 1 else min(self._room.tokens, -(-self.tokens // share))
        while high - low < self._room.items and (side := self._nearer(low, high)):
            longest = self._by_length[high if side > 0 else high - 1].tokens
            if (high - low + 1) * longest > room:
                break
            low, high = (low, high + 1) if side > 0 else (low - 1, high)
        taken = self._by_length[low:high]
        del self._by_length[low:high]
        for item in taken:
            del self._arrived[item]
            self.tokens -= item.tokens
        return taken

    def remove(self, items: Iterable[S]) -> None:
        """Those of these items that still wait."""
        gone = [item for item in items if item in self._arrived]
        for item in gone:
            del self._arrived[item]
            self.tokens -= item.tokens
        if gone:
            self._by_length = [item for item in self._by_length if item in self._arrived]

    def _place(self, item: S) -> int:
        return self._by_length.index(item, bisect.bisect_left(self._by_length, item.tokens, key=_TOKENS))

    def _nearer(self, low: int, high: int) -> int:
        """Which neighbour of the items from `low` to `high` joins them: -1 the shorter one, 1 the longer, 0 neither."""
        shortest, longest = self._by_length[low].tokens, self._by_length[high - 1].tokens
        shorter = self._by_length[low - 1].tokens if low else None
        longer = self._by_length[high].tokens if high < len(self._by_length) else None
        if shorter is not None and not _alike(shorter, longest):
            shorter = None
        if longer is not None and not _alike(shortest, longer):
            longer = None
        if shorter is None:
            return 0 if longer is None else 1
        return -1 if longer is None or shortest - shorter <= longer - longest else 1


def _alike(shorter: int, longer: int) -> bool:
    return longer <= 2 * shorter or longer - shorter <= _ALIKE
