"""The passages of one tenant and one embedder in memory, and the exact search over them.

One thread at a time changes a segment. It then publishes a view, and searches use the view that they began with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, chain
from typing import Any, NamedTuple, assert_never

import numpy as np
import numpy.typing as npt

from deployments.filter_values import METADATA, values_at
from deployments.filters import And, Comparison, Filter, Not, Or, comparer, label
from deployments.retrieval.embedded.arrays import Column, Growing, Mask, Vectors
from deployments.retrieval.embedded.postings import Postings, Scores, with_part
from deployments.types import Matrix, RetrievalRequest, Scope, Vector, VisibleVersions

FIELDS = ("document_id", "version", "owner", "collection", "language")
"""The fields of a passage that scopes and filters ask for, beside its metadata."""
MAX_METADATA_COLUMNS = 32
NO_NUMBERS = np.empty(0, np.int64)
Together = Callable[[Callable[[int, Matrix], None], Iterable[int], Iterable[Matrix]], Iterable[None]]
"""`map`, for blocks of vectors."""
DEAD_ROWS_KEPT = 4_096
"""Up to so many removed rows, a segment is not made anew."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a segment.

    `numbers`: ascending, one for each row, never used twice. `terms` and `weights` are those of all rows, one after the
    other, `terms_in_row` of each. `fields`: the values of each of `FIELDS`.
    """

    numbers: npt.NDArray[np.int64]
    dense: Matrix
    terms_in_row: npt.NDArray[np.int64]
    terms: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32]
    fields: Mapping[str, Sequence[str]]


class Hit(NamedTuple):
    """A row that a half found, with both scores; None where the question has nothing of a half."""

    number: int
    dense: float | None
    lexical: float | None


class Hits(NamedTuple):
    """Both halves of a search, each best first."""

    dense: list[Hit]
    lexical: list[Hit]


@dataclass(frozen=True, slots=True)
class View:
    """A segment as it was at one moment. Its arrays do not change."""

    numbers: npt.NDArray[np.int64]
    alive: Mask
    dense: tuple[npt.NDArray[np.float32], ...]
    postings: tuple[Postings, ...]
    fields: Mapping[str, Column]
    metadata: Mapping[str, Column]
    """Name → what `values_at` gives for it."""

    def search(self, requests: Sequence[RetrievalRequest], *, together: Together = map) -> list[Hits]:
        """The best rows of each half, at most `limit`, for each request; equal scores in the order of writing.

        The names of metadata in filters must have columns in this view. `together`: `map`, or one that computes on
        several threads.
        """
        foreign = [self._foreign(request) for request in requests]
        vectors = list(chain.from_iterable(map(_question_vectors, requests, foreign)))
        cosines = self._cosines(np.stack(vectors), together) if vectors else iter(())
        seen: dict[Scope, Mask] = {}
        found = []
        for request, rows in zip(requests, foreign, strict=True):
            if request.scope not in seen:
                seen[request.scope] = self.visible(request.scope)
            dense = next(cosines) if len(request.dense.vectors) else None
            if dense is not None and rows is not None:
                dense = np.where(rows, next(cosines), dense)
            found.append(self._best_of_both(request, seen[request.scope], dense))
        return found

    def visible(self, scope: Scope) -> Mask:
        """The rows that the asker may see. The tenant is the segment's."""
        owners = {"", scope.user_id}
        conditions = [self.alive, self._where("owner", owners.__contains__)]
        if scope.collections:
            conditions.append(self._where("collection", set(scope.collections).__contains__))
        if scope.visible is not None:
            conditions.append(self._where("version", _is_visible(scope.visible)))
        if scope.filter is not None:
            conditions.append(self._filtered(scope.filter))
        return reduce(np.logical_and, conditions)

    def _where(self, field: str, holds: Callable[[Any], bool]) -> Mask:
        return self.fields[field].rows_where(holds, len(self.numbers))

    def _filtered(self, filter: Filter) -> Mask:
        match filter:
            case Not(operand):
                return np.logical_not(self._filtered(operand))
            case And(operands):
                return reduce(np.logical_and, map(self._filtered, operands))
            case Or(operands):
                return reduce(np.logical_or, map(self._filtered, operands))
            case Comparison(field, _, _):
                holds = comparer(filter)
                if field.startswith(METADATA):
                    return self.metadata[field].rows_where(holds, len(self.numbers))
                return self._where(field, lambda value: holds(label(value)))
            case _:
                assert_never(filter)

    def _foreign(self, request: RetrievalRequest) -> Mask | None:
        """The rows in the language that the question's shift is for; None if there are none, or there is no shift."""
        if (shift := request.dense.shift) is None:
            return None
        rows = self._where("language", shift.language.__eq__)
        return rows if rows.any() else None

    def _cosines(self, questions: Matrix, together: Together) -> Iterator[Scores]:
        """For each question's vector its cosines with all rows."""
        cosines = np.empty((len(questions), len(self.numbers)), np.float32)

        def compute(first: int, block: Matrix) -> None:
            # For one question a matrix times a vector, which is faster than a product of matrices.
            product = (block @ questions[0])[np.newaxis] if len(questions) == 1 else questions @ block.T
            cosines[:, first : first + len(block)] = product

        sizes = [len(block) for block in self.dense]
        list(together(compute, accumulate(sizes, initial=0), self.dense))
        return iter(cosines)

    def _best_of_both(self, request: RetrievalRequest, visible: Mask, cosines: Scores | None) -> Hits:
        products = None
        if request.lexical:
            products = np.zeros(len(self.numbers), np.float32)
            for part in self.postings:
                part.add_scores(request.lexical, products)

        def hits(rows: npt.NDArray[np.intp]) -> list[Hit]:
            return [
                Hit(
                    int(self.numbers[row]),
                    None if cosines is None else float(cosines[row]),
                    None if products is None else float(products[row]),
                )
                for row in rows
            ]

        return Hits(
            hits(_best(cosines, visible, request.limit)) if cosines is not None else [],
            hits(_best(products, visible & (products > 0), request.limit)) if products is not None else [],
        )


class Segment:
    """What a view is made of. Its methods are for one thread at a time; `view` may be read by any."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._numbers = Growing(np.int64)
        self._alive = np.empty(0, np.bool_)
        self._dense = Vectors(dimension)
        self._postings: tuple[Postings, ...] = ()
        self._fields = {field: Column() for field in FIELDS}
        self._metadata: dict[str, Column] = {}
        self.view = self._seen()
        self.used = 0.0
        """When it was searched last, by time.monotonic()."""

    @property
    def size(self) -> int:
        """Bytes of its arrays, about."""
        entries = sum(map(len, self._postings))
        return len(self._alive) * (4 * self._dimension + 4 * len(self._fields) + 9) + 8 * entries

    def append(self, rows: Rows, metadata: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add rows with higher numbers than those that are there. `metadata`: one for each row; it may be left out as
        long as no metadata column has been added."""
        self.replace(NO_NUMBERS, rows, metadata)

    def replace(self, numbers: npt.NDArray[np.int64], rows: Rows, metadata: Sequence[Mapping[str, Any]] = ()) -> None:
        """`remove` and `append` in one step: no view has only one of them."""
        self._end(numbers)
        first = self._numbers.rows
        places = np.arange(first, first + len(rows.numbers), dtype=np.int32)
        self._numbers.append(rows.numbers)
        self._dense.append(rows.dense)
        for field, column in self._fields.items():
            column.append(rows.fields[field])
        for name, column in self._metadata.items():
            column.append(values_at(each, name) for each in metadata)
        new = Postings.of(np.repeat(places, rows.terms_in_row), rows.terms, rows.weights)
        self._postings = with_part(self._postings, new)
        self._alive = np.append(self._alive, np.ones(len(places), np.bool_))
        self.view = self._seen()

    def remove(self, numbers: npt.NDArray[np.int64]) -> None:
        """Remove the rows with these numbers; numbers that are not there are passed over."""
        self._end(numbers)
        self.view = self._seen()

    def _end(self, numbers: npt.NDArray[np.int64]) -> None:
        if len(numbers):
            self._alive = self._alive & ~np.isin(self._numbers.filled, numbers)
            dead = len(self._alive) - int(self._alive.sum())
            if dead > max(DEAD_ROWS_KEPT, len(self._alive) // 4):
                self._compact()

    def add_metadata(self, names: Set[str], metadata: Mapping[int, Mapping[str, Any]]) -> None:
        """Add columns for these names, and keep those that are there. Of others the oldest go if there are too many.

        `metadata`: by row number; that of removed rows may be missing.
        """
        numbers = self._numbers.filled.tolist()
        columns = dict(self._metadata)
        for name in names:
            column = columns.pop(name, None)
            if column is None:
                column = Column()
                column.append(values_at(metadata.get(number, {}), name) for number in numbers)
            columns[name] = column
        kept = list(columns)[-max(MAX_METADATA_COLUMNS, len(names)) :]
        self._metadata = {name: columns[name] for name in kept}
        self.view = self._seen()

    def _compact(self) -> None:
        """Make everything anew without removed rows. Views that are in use keep the old arrays."""
        alive = self._alive
        numbers, dense = Growing(np.int64), Vectors(self._dimension)
        numbers.append(self._numbers.filled[alive])
        start = 0
        for block in self._dense.filled:
            dense.append(block[alive[start : start + len(block)]])
            start += len(block)
        self._numbers, self._dense = numbers, dense
        self._postings = tuple(part.kept(alive) for part in self._postings)
        self._fields = {field: column.kept(alive) for field, column in self._fields.items()}
        self._metadata = {key: column.kept(alive) for key, column in self._metadata.items()}
        self._alive = np.ones(numbers.rows, np.bool_)

    def _seen(self) -> View:
        return View(
            self._numbers.filled, self._alive, self._dense.filled, self._postings, self._fields, dict(self._metadata)
        )


def metadata_names(filter: Filter | None) -> set[str]:
    """The names of metadata that a filter asks for."""
    match filter:
        case None:
            return set()
        case Not(operand):
            return metadata_names(operand)
        case And(operands) | Or(operands):
            return set().union(*map(metadata_names, operands))
        case Comparison(field, _, _):
            return {field} if field.startswith(METADATA) else set()
        case _:
            assert_never(filter)


def _question_vectors(request: RetrievalRequest, foreign: Mask | None) -> Iterator[Vector]:
    """The question's vector, then the shifted one if there are rows for it. Nothing for a question without a vector."""
    if len(request.dense.vectors):
        yield request.dense.vectors[0]
        if request.dense.shift is not None and foreign is not None:
            yield request.dense.shift.shifted(request.dense.vectors[0])


def _is_visible(visible: VisibleVersions) -> Callable[[str], bool]:
    """The same as `visible.includes`, but for many hidden versions asked many times."""
    newest, hidden, runs = visible.newest, frozenset(visible.hidden), visible.hidden_runs
    if not runs:
        return lambda version: version <= newest and version not in hidden
    firsts, lasts = [run.first for run in runs], ["", *(run.last for run in runs)]

    def is_visible(version: str) -> bool:
        # The last run that begins at or before the version ends before it, or there is none.
        return version <= newest and version not in hidden and lasts[bisect_right(firsts, version)] < version

    return is_visible


def _best(scores: Scores, allowed: Mask, limit: int) -> npt.NDArray[np.intp]:
    """The allowed rows with the highest scores, best first, equal ones by row."""
    rows = np.flatnonzero(allowed)
    values = scores[rows]
    if len(rows) > limit:
        lowest = np.partition(values, len(values) - limit)[len(values) - limit]
        above, equal = np.flatnonzero(values > lowest), np.flatnonzero(values == lowest)
        kept = np.sort(np.append(above, equal[: limit - len(above)]))
        rows, values = rows[kept], values[kept]
    return rows[np.argsort(-values, kind="stable")]
