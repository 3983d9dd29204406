"""Arrays of a segment that grow by rows. Rows that are there never change, so readers need no lock."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
"""Shape (rows,): which rows are meant."""
BLOCK_ROWS = 16_384
_FIRST_ROWS = 256


class Growing:
    """Rows of one kind of number, each of shape `shape`. One thread appends; `filled` may be read by any."""

    def __init__(self, dtype: npt.DTypeLike, shape: tuple[int, ...] = ()) -> None:
        self._array: npt.NDArray[Any] = np.empty((0, *shape), dtype)
        self.rows = 0

    @property
    def filled(self) -> npt.NDArray[Any]:
        return self._array[: self.rows]

    def append(self, new: npt.ArrayLike) -> None:
        added = np.asarray(new, self._array.dtype)
        needed = self.rows + len(added)
        if needed > len(self._array):
            larger = np.empty(
                (max(needed, 2 * len(self._array), _FIRST_ROWS), *self._array.shape[1:]), self._array.dtype
            )
            larger[: self.rows] = self.filled
            self._array = larger
        self._array[self.rows : needed] = added
        self.rows = needed


class Vectors:
    """Dense vectors in blocks of `BLOCK_ROWS`, so that a large segment grows without being copied."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._blocks: list[Growing] = []

    @property
    def filled(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The blocks in order, each of shape (rows of the block, dimension)."""
        return tuple(block.filled for block in self._blocks)

    def append(self, vectors: npt.NDArray[np.float32]) -> None:
        while len(vectors):
            if not self._blocks or self._blocks[-1].rows == BLOCK_ROWS:
                self._blocks.append(Growing(np.float32, (self._dimension,)))
            room = BLOCK_ROWS - self._blocks[-1].rows
            self._blocks[-1].append(vectors[:room])
            vectors = vectors[room:]


class Column:
    """The values of one field: each distinct value once, and for each row its number.

    So a condition is asked once a value, however many rows have it.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._number_of: dict[Hashable, int] = {}
        self._numbers = Growing(np.int32)

    def append(self, values: Iterable[Hashable]) -> None:
        numbers = []
        for value in values:
            number = self._number_of.get(value)
            if number is None:
                number = self._number_of[value] = len(self._values)
                self._values.append(value)
            numbers.append(number)
        self._numbers.append(numbers)

    def rows_where(self, holds: Callable[[Any], bool], rows: int) -> Mask:
        """Which of the first `rows` rows have a value for which `holds` is true."""
        known = len(self._values)
        accepted = np.fromiter(map(holds, islice(self._values, known)), np.bool_, known)
        return np.asarray(accepted[self._numbers.filled[:rows]])

    def kept(self, alive: Mask) -> Column:
        """The same column with these rows only."""
        smaller = Column()
        numbers = self._numbers.filled[: len(alive)][alive]
        smaller.append(self._values[number] for number in numbers)
        return smaller
