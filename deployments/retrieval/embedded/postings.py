"""Which rows hold a term, and how heavily: the lexical half of a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.retrieval.embedded.arrays import Mask
from deployments.types import SparseVector

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Postings:
    """The entries of some rows, sorted by term and then by row.

    The entries of `terms[i]` are `rows[starts[i]:starts[i + 1]]` and the `weights` at the same places.
    """

    terms: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, rows: npt.NDArray[np.int32], terms: npt.NDArray[np.uint32], weights: npt.NDArray[np.float32]
    ) -> Postings:
        """Of entries in the order of their rows: row, term and weight of each."""
        # Sorting term and place as one number is several times faster than a stable argsort.
        keys = terms.astype(np.uint64) << np.uint64(32)
        keys |= np.arange(len(terms), dtype=np.uint64)
        keys.sort()
        order = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)
        return cls._sorted(terms[order], rows[order], weights[order])

    @classmethod
    def _sorted(
        cls, terms: npt.NDArray[np.uint32], rows: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]
    ) -> Postings:
        first = np.flatnonzero(np.diff(terms, prepend=terms[:1] + np.uint32(1))) if len(terms) else np.empty(0, int)
        return cls(terms[first], np.append(first, len(terms)).astype(np.int64), rows, weights)

    def __len__(self) -> int:
        return len(self.rows)

    def add_scores(self, question: SparseVector, scores: Scores) -> None:
        """Add the inner product of the question with each row to the row's score."""
        for term, weight in question.items():
            place = int(np.searchsorted(self.terms, np.uint32(term)))
            if place < len(self.terms) and self.terms[place] == term:
                entries = slice(self.starts[place], self.starts[place + 1])
                # A row holds a term at most once, so no row is named twice here.
                scores[self.rows[entries]] += np.float32(weight) * self.weights[entries]

    def kept(self, alive: Mask) -> Postings:
        """The entries of these rows, numbered anew without gaps."""
        kept = alive[self.rows]
        numbers = (np.cumsum(alive) - 1).astype(np.int32)
        terms = np.repeat(self.terms, np.diff(self.starts))
        return self._sorted(terms[kept], numbers[self.rows[kept]], self.weights[kept])


def merged(parts: Sequence[Postings]) -> Postings:
    """One of several, each with later rows than the one before."""
    terms = np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    return Postings.of(rows, terms, weights)


def with_part(parts: tuple[Postings, ...], new: Postings) -> tuple[Postings, ...]:
    """Parts with one more: it is merged with those before it that are not twice as large.

    So an entry is merged few times, and there are few parts.
    """
    if not len(new):
        return parts
    while parts and len(parts[-1]) < 2 * len(new):
        new = merged([parts[-1], new])
        parts = parts[:-1]
    return (*parts, new)
