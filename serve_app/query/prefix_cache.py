"""Orders the passages of a prompt so that it begins like an earlier prompt of the same tenant.

An engine's prefix cache serves the bytes that two prompts begin with. A passage is numbered by its position, so two
prompts whose first passages are the same, in the same order, begin with the same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cachetools import LRUCache

from deployments.types import Passage
from serve_app.query.config import PromptConfig

K = TypeVar("K", bound=Hashable)


class PromptPrefixCache:
    """What the prompts of each tenant began with.

    Tenants share no prefix cache in the engine, and so none here. Each ingress replica knows the prompts that it sent
    itself.
    """

    def __init__(self, config: PromptConfig) -> None:
        self._config = config
        self._trees: LRUCache[str, PrefixTree] = LRUCache(config.max_tenants)

    def arrange(self, tenant_id: str, start: Hashable, passages: Sequence[Passage]) -> list[Passage]:
        """The passages in the order in which they are to be sent after `start`; that order is remembered.

        `passages` are given best first. Those of the longest known prefix, by characters, come first, the others by
        rank.
        """
        if self._config.order == "rank":
            return list(passages)
        tree = self._tree(tenant_id)
        fixed_count = 1 if self._config.order == "best_first" else 0
        fixed = [passage.id for passage in passages[:fixed_count]]
        lengths = {passage.id: len(passage.text) for passage in passages[fixed_count:]}
        known = tree.longest([start, *fixed], lengths)
        order = [*fixed, *known, *(passage_id for passage_id in lengths if passage_id not in known)]
        tree.remember([start, *order])
        by_id = {passage.id: passage for passage in passages}
        return [by_id[passage_id] for passage_id in order]

    def _tree(self, tenant_id: str) -> PrefixTree:
        return self._trees.setdefault(tenant_id, PrefixTree(self._config.max_passages))


@dataclass(eq=False, slots=True)
class _Node:
    """A key after all keys on the path from the root."""

    children: dict[Hashable, _Node] = field(default_factory=dict)


class PrefixTree:
    """A trie of key sequences with at most `max_nodes` nodes. The least recently used nodes are dropped first."""

    def __init__(self, max_nodes: int) -> None:
        self._max_nodes = max_nodes
        self._root = _Node()
        # Least recently used first: each node with its parent, and its key there.
        self._parents: OrderedDict[_Node, tuple[_Node, Hashable]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parents)

    def longest(self, start: Iterable[Hashable], lengths: Mapping[K, int]) -> list[K]:
        """The longest known continuation of `start` that consists of keys of `lengths` only.

        Of equally long ones, the one whose keys come first in `lengths`. No remembered sequence may hold a key twice.
        Visits each node once at most.
        """
        node: _Node | None = self._root
        for key in start:
            node = node.children.get(key) if node else None
        return _longest(node, lengths)[1] if node else []

    def remember(self, keys: Iterable[Hashable]) -> None:
        node = self._root
        path: list[tuple[_Node, tuple[_Node, Hashable]]] = []
        for key in keys:
            child = node.children.setdefault(key, _Node())
            path.append((child, (node, key)))
            node = child
        # From the end: a parent is then never older than its children, so the oldest node is a leaf.
        for node, parent in reversed(path):
            self._parents[node] = parent
            self._parents.move_to_end(node)
        while len(self._parents) > self._max_nodes:
            _, (node, key) = self._parents.popitem(last=False)
            del node.children[key]


def _longest(node: _Node, lengths: Mapping[K, int]) -> tuple[int, list[K]]:
    best: tuple[int, list[K]] = 0, []
    for key, length in lengths.items():
        if (child := node.children.get(key)) is not None:
            further, path = _longest(child, lengths)
            if length + further > best[0]:
                best = length + further, [key, *path]
    return best
