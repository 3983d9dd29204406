"""The order of passages in a prompt, so that it begins as an earlier prompt of the same tenant did.

An engine's prefix cache serves what two prompts begin with, byte by byte. A passage's number is its place, so the
first passages of two prompts are the same bytes where they are the same passages in the same order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pydantic import Field

from deployments.config import Config
from deployments.types import Passage

K = TypeVar("K", bound=Hashable)


class PromptConfig(Config):
    order: Literal["best_first", "free", "rank"] = Field(
        "best_first",
        description="passages in a prompt: the best one first and the others as the prefix cache has them, "
        "all as it has them, or all by rank. Engines without such a cache get them by rank",
    )
    max_tenants: int = Field(64, ge=1, description="tenants whose prompts one ingress replica remembers")
    max_passages: int = Field(8_192, ge=1, description="passages of one tenant's prompts that it remembers in all")


class Prefixes:
    """What the prompts of each tenant began with. Tenants share no cache, and so no memory of it either.

    It is of what this process has sent: each ingress replica has its own.
    """

    def __init__(self, config: PromptConfig) -> None:
        self._config = config
        self._tenants: OrderedDict[str, PrefixTree] = OrderedDict()

    def arrange(self, tenant_id: str, before: Hashable, passages: Sequence[Passage]) -> list[Passage]:
        """The passages, given best first, as they are to be sent after `before`; they are remembered as sent.

        The longest beginning that was sent already, by its characters, and what it does not hold by rank.
        """
        if self._config.order == "rank":
            return list(passages)
        tree = self._of(tenant_id)
        fixed = 1 if self._config.order == "best_first" else 0
        first = [passage.id for passage in passages[:fixed]]
        lengths = {passage.id: len(passage.text) for passage in passages[fixed:]}
        known = tree.longest([before, *first], lengths)
        order = [*first, *known, *(id for id in lengths if id not in known)]
        tree.remember([before, *order])
        by_id = {passage.id: passage for passage in passages}
        return [by_id[id] for id in order]

    def _of(self, tenant_id: str) -> PrefixTree:
        tree = self._tenants.setdefault(tenant_id, PrefixTree(self._config.max_passages))
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > self._config.max_tenants:
            self._tenants.popitem(last=False)
        return tree


@dataclass(eq=False, slots=True)
class _Place:
    """A key after all those above it."""

    following: dict[Hashable, _Place] = field(default_factory=dict)


class PrefixTree:
    """Sequences of keys by what they begin with, at most `most` places of them: those not met for longest go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._root = _Place()
        # Least recently met first, each with the place that it follows, and its key there.
        self._met: OrderedDict[_Place, tuple[_Place, Hashable]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._met)

    def longest(self, start: Iterable[Hashable], lengths: Mapping[K, int]) -> list[K]:
        """Of the known ways on from `start` with keys of `lengths` alone, the longest; of equals, that whose keys come
        first. No sequence may have held a key twice. Looks at each place once at most."""
        place: _Place | None = self._root
        for key in start:
            place = place.following.get(key) if place else None
        return _longest(place, lengths)[1] if place else []

    def remember(self, keys: Iterable[Hashable]) -> None:
        place = self._root
        way: list[tuple[_Place, tuple[_Place, Hashable]]] = []
        for key in keys:
            following = place.following.setdefault(key, _Place())
            way.append((following, (place, key)))
            place = following
        # From the end, so that nothing is ever older than what follows it, and the oldest has nothing after it.
        for place, where in reversed(way):
            self._met[place] = where
            self._met.move_to_end(place)
        while len(self._met) > self._most:
            _, (place, key) = self._met.popitem(last=False)
            del place.following[key]


def _longest(place: _Place, lengths: Mapping[K, int]) -> tuple[int, list[K]]:
    best: tuple[int, list[K]] = 0, []
    for key, length in lengths.items():
        if (following := place.following.get(key)) is not None:
            further, way = _longest(following, lengths)
            if length + further > best[0]:
                best = length + further, [key, *way]
    return best
