from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.bridge.framing import FRAMES, LINES, Decoded, Framing, TooLarge, Truncated

BOUND = 8
BODIES = st.lists(st.binary(max_size=2 * BOUND).map(lambda body: body.replace(b"\n", b" ")), max_size=6)
both = pytest.mark.parametrize("framing", [FRAMES, LINES], ids=["frames", "lines"])


def decode(framing: Framing, parts: Sequence[bytes], bound: int = BOUND) -> list[Decoded]:
    decoder = framing.decoder(bound)
    return [item for part in parts for item in decoder.feed(part)] + list(decoder.end())


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


@both
@given(bodies=BODIES, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_however_it_arrives_what_was_encoded_comes_out(framing: Framing, bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framing.encode(body) for body in bodies)
    expected = [body if len(body) <= BOUND else TooLarge() for body in bodies]
    assert decode(framing, pieces(data, cuts)) == expected


@both
def test_cut_at_every_offset(framing: Framing) -> None:
    bodies = [b"{}", b"", b"12345678", b"123456789", b"\xc4\x8d", b"" * 3, b"x" * 40, b"end"]
    data = b"".join(framing.encode(body) for body in bodies)
    expected = [body if len(body) <= BOUND else TooLarge() for body in bodies]
    for offset in range(len(data) + 1):
        assert decode(framing, [data[:offset], data[offset:]]) == expected
    assert decode(framing, [bytes([byte]) for byte in data]) == expected


def test_a_frame_is_its_length_in_four_bytes_and_its_body() -> None:
    assert FRAMES.encode(b"x" * 258) == b"\x00\x00\x01\x02" + b"x" * 258


def test_what_the_end_cuts_off_of_a_frame_is_told() -> None:
    whole = FRAMES.encode(b"one")
    for end in range(1, len(whole)):
        assert decode(FRAMES, [whole + whole[:end]]) == [b"one", Truncated()]
    assert decode(FRAMES, [FRAMES.encode(b"x" * 100)[:50]]) == [Truncated()]


def test_a_last_line_needs_no_newline() -> None:
    assert decode(LINES, [b"one\ntw", b"o"]) == [b"one", b"two"]
    assert decode(LINES, [b"one\n" + b"x" * 9]) == [b"one", TooLarge()]
    assert decode(LINES, [b"one\n"]) == [b"one"]


@both
def test_what_is_too_large_is_not_kept(framing: Framing) -> None:
    bound, part = 64 * 1024, b"x" * 16 * 1024
    decoder = framing.decoder(bound)
    first = framing.encode(part * 4000)
    found: list[Decoded] = []
    tracemalloc.start()
    try:
        found += decoder.feed(first[:100])
        for _ in range(3999):
            found += decoder.feed(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == []
    assert peak < 4 * bound
    assert list(decoder.feed(first[100 + 3999 * len(part) :] + framing.encode(b"good"))) == [TooLarge(), b"good"]


def test_a_length_alone_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert list(FRAMES.decoder(2**31).feed((2**30).to_bytes(4, "big"))) == []
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
