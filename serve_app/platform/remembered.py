"""What was found good, for a short while: so long may another replica's change go unnoticed in this one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Generic, TypeVar

MAX_REMEMBERED = 10_000
"""Things in one memory; beyond it the oldest goes."""
T = TypeVar("T")


class Remembered(Generic[T]):
    def __init__(self, keep_s: float, clock: Callable[[], datetime]) -> None:
        self._keep = timedelta(seconds=keep_s)
        self._clock = clock
        self._found: OrderedDict[str, tuple[datetime, T]] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> T | None:
        """What was put under the key no longer than `keep_s` ago; a clock set back forgets."""
        found_at, value = self._found.get(key, (None, None))
        if found_at is not None and not timedelta() <= self._clock() - found_at < self._keep:
            del self._found[key]
            return None
        return value

    def put(self, key: str, value: T) -> None:
        self._found.pop(key, None)
        self._found[key] = self._clock(), value
        if len(self._found) > MAX_REMEMBERED:
            self._found.popitem(last=False)

    def forget(self, key: str) -> None:
        self._found.pop(key, None)

    def forget_where(self, holds: Callable[[T], bool]) -> None:
        for key in [key for key, (_, value) in self._found.items() if holds(value)]:
            del self._found[key]
