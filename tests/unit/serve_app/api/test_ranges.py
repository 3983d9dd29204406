from __future__ import annotations

import pytest

from deployments.errors import RangeNotSatisfiable
from serve_app.api.ranges import Part, is_known, requested_part

ETAG = '"e1"'
SIZE = 10


def part_of(range: str | None, if_range: str | None = None, *, size: int = SIZE) -> Part | None:
    return requested_part(range, if_range, etag=ETAG, size=size)


@pytest.mark.parametrize(
    ("range", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=2-5", 2, 6),
        ("bytes=9-9", 9, 10),
        ("bytes=4-", 4, 10),
        ("bytes=4-10", 4, 10),
        ("bytes=4-99999999999999999999999999", 4, 10),
        ("bytes=-1", 9, 10),
        ("bytes=-10", 0, 10),
        ("bytes=-11", 0, 10),
        ("BYTES=0-1", 0, 2),
        ("bytes=0-1 ", 0, 2),
        ("bytes=007-008", 7, 9),
    ],
)
def test_a_range_is_a_part_of_the_bytes(range: str, start: int, stop: int) -> None:
    assert part_of(range) == Part(start, stop)


@pytest.mark.parametrize("range", ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999999-", "bytes=-0"])
def test_a_range_that_names_no_byte_is_refused(range: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="10 bytes"):
        part_of(range)


def test_no_part_of_nothing_can_be_sent() -> None:
    with pytest.raises(RangeNotSatisfiable):
        part_of("bytes=-5", size=0)


@pytest.mark.parametrize(
    "range",
    [
        "bytes=0-1,3-4",
        "bytes=5-4",
        "bytes=-",
        "bytes=",
        "bytes",
        "bytes=a-b",
        "bytes=0-1x",
        "bytes=+0-1",
        "bytes=٠-١",
        "bytes=--1",
        "lines=0-1",
        "bytes=" + "9" * 5_000 + "-",
        "",
    ],
)
def test_several_ranges_and_what_is_no_range_are_answered_with_all_bytes(range: str) -> None:
    assert part_of(range) is None


def test_without_a_range_all_bytes_are_meant() -> None:
    assert part_of(None) is None
    assert part_of(None, ETAG) is None


@pytest.mark.parametrize(
    ("if_range", "is_same"),
    [
        (ETAG, True),
        (f" {ETAG} ", True),
        ('"e2"', False),
        (f"W/{ETAG}", False),
        ("e1", False),
        (f'"e2", {ETAG}', False),
        ("Sun, 29 Nov 2026 12:00:00 GMT", False),
    ],
)
def test_a_part_goes_on_only_with_the_bytes_that_it_began_with(if_range: str, is_same: bool) -> None:
    assert part_of("bytes=1-2", if_range) == (Part(1, 3) if is_same else None)
    if not is_same:
        assert part_of("bytes=99-", if_range) is None, "the range is of other bytes"


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"e0",W/"e2" , {ETAG}', True),
        ("*", True),
        ('"e2"', False),
        ('"e11", "xe1"', False),
        ("e1", False),
        ("", False),
        (None, False),
    ],
)
def test_a_client_knows_the_bytes_whose_tag_it_sends(if_none_match: str | None, known: bool) -> None:
    assert is_known(if_none_match, ETAG) is known
