from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from deployments.inference.packed_e5 import PackedE5


def packed(*, magic: bytes = b"E5S1", block: int = 32) -> bytes:
    """A file of two pieces, one replaced character, a float32 tensor and a tensor of one block."""
    sizes = struct.pack("<7ifi", 4, 1, 2, 8, 3, 16, 1, 1e-12, block)
    names = ["<s>", "č"]
    encoded = [name.encode() for name in names]
    ends = [0, len(encoded[0]), sum(map(len, encoded))]
    vocabulary = struct.pack("<5iQ", len(names), 0, 0, 1, 1, ends[-1])
    vocabulary += struct.pack("<3I2f", *ends, -1.5, -2.5) + b"".join(encoded)
    replaced = struct.pack("<IB1I", ord("\u00a0"), 1, ord(" "))
    characters = struct.pack("<iI", 1, len(replaced)) + replaced
    start = struct.pack("<4sI", magic, 1) + sizes + vocabulary + characters

    plain = struct.pack("<2f", 0.5, -3.0)
    # Low halves 0 to 15, high halves all 8, which stands for 0.
    block_bytes = struct.pack("<e", 0.5) + bytes(8 << 4 | low for low in range(16))
    size = len(start) + 4 + 2 * (2 + 1 + 21)
    directory = struct.pack("<i", 2)
    directory += struct.pack("<H1sBIQQ", 1, b"p", 0, 2, size, len(plain))
    directory += struct.pack("<H1sBIQQ", 1, b"q", 1, 32, size + len(plain), len(block_bytes))
    return start + directory + plain + block_bytes


def read(folder: Path, content: bytes) -> PackedE5:
    file = folder / "model.bin"
    file.write_bytes(content)
    return PackedE5(file)


def test_vocabulary_and_sizes(tmp_path: Path) -> None:
    model = read(tmp_path, packed())
    assert (model.sizes.hidden, model.sizes.rows, model.sizes.positions) == (4, 3, 16)
    assert (list(model.pieces.names), list(model.pieces.scores)) == (["<s>", "č"], [-1.5, -2.5])
    assert (model.pieces.begin, model.pieces.end, model.pieces.padding, model.pieces.unknown) == (0, 0, 1, 1)
    assert model.character_map == {"\u00a0": " "}


def test_a_block_gives_the_low_halves_first(tmp_path: Path) -> None:
    model = read(tmp_path, packed())
    assert model.tensor("p").tolist() == [0.5, -3.0]
    low = (np.arange(16) - 8) * 0.5
    assert model.tensor("q").tolist() == [*low, *np.zeros(16)]


@pytest.mark.parametrize(
    ("content", "words"), [(packed(magic=b"E5S2"), "version 1"), (packed(block=64), "blocks of 64")]
)
def test_another_layout_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(tmp_path, content)
