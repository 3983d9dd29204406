from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from deployments.inference.packing import Room, Waiting


@dataclass(frozen=True, eq=False)
class Text:
    tokens: int


def passes(tokens: list[int], room: Room, share: int = 1) -> list[list[int]]:
    waiting = Waiting[Text](room)
    waiting.add([Text(each) for each in tokens])
    found = []
    while taken := waiting.take(share):
        found.append([text.tokens for text in taken])
    return found


def test_the_first_to_come_is_in_the_next_pass_with_those_of_like_length() -> None:
    assert passes([90, 300, 200, 100, 310, 95], Room(3, 10_000)) == [[90, 95, 100], [200, 300, 310]]


def test_padding_counts() -> None:
    assert passes([40, 30, 30], Room(9, 80)) == [[30, 40], [30]]


def test_none_is_padded_to_more_than_twice_its_length_but_for_a_few_tokens() -> None:
    assert passes([101, 50, 51], Room(9, 10_000)) == [[51, 101], [50]]
    assert passes([17, 1], Room(9, 10_000)) == [[1, 17]]


def test_one_longer_than_a_pass_passes_alone() -> None:
    assert passes([50, 30, 30], Room(9, 40)) == [[50], [30], [30]]


def test_what_waits_is_shared_among_the_lanes() -> None:
    assert passes([10] * 8, Room(99, 10_000), share=2)[0] == [10] * 4


def test_what_is_removed_is_in_no_pass() -> None:
    waiting = Waiting[Text](Room(9, 100))
    first, second, third = Text(5), Text(5), Text(7)
    waiting.add([first, second, third])
    waiting.remove([first, third, Text(5)])
    assert (len(waiting), waiting.tokens) == (1, 5)
    assert waiting.take() == [second]
    waiting.remove([second])
    assert (len(waiting), waiting.tokens, waiting.take()) == (0, 0, [])


def test_tens_of_thousands_may_wait() -> None:
    waiting = Waiting[Text](Room(32, 1_024))
    texts = [Text(number % 300) for number in range(50_000)]
    waiting.add(texts)
    waiting.add([Text(7)])
    waiting.remove(texts)
    assert (len(waiting), waiting.tokens) == (1, 7)


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 8), st.integers(1, 1_000), st.integers(1, 4))
def test_everything_is_in_one_pass_and_every_pass_within_its_room(
    tokens: list[int], items: int, room: int, share: int
) -> None:
    found = passes(tokens, Room(items, room), share)
    assert sorted(each for taken in found for each in taken) == sorted(tokens)
    for taken in found:
        assert taken == sorted(taken)
        assert 1 <= len(taken) <= items
        assert len(taken) == 1 or len(taken) * taken[-1] <= room
