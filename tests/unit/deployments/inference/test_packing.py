from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from deployments.inference.packing import PassLimits, PassQueue


@dataclass(frozen=True, eq=False)
class Text:
    tokens: int


def passes(tokens: list[int], limits: PassLimits, shares: int = 1) -> list[list[int]]:
    queue = PassQueue[Text](limits)
    queue.add([Text(count) for count in tokens])
    found = []
    while batch := queue.take(shares):
        found.append([text.tokens for text in batch])
    return found


def test_the_first_to_come_is_in_the_next_pass_with_those_of_like_length() -> None:
    assert passes([90, 300, 200, 100, 310, 95], PassLimits(3, 10_000)) == [[90, 95, 100], [200, 300, 310]]


def test_padding_counts() -> None:
    assert passes([40, 30, 30], PassLimits(9, 80)) == [[30, 40], [30]]


def test_none_is_padded_to_more_than_twice_its_length_but_for_a_few_tokens() -> None:
    assert passes([101, 50, 51], PassLimits(9, 10_000)) == [[51, 101], [50]]
    assert passes([17, 1], PassLimits(9, 10_000)) == [[1, 17]]


def test_one_longer_than_a_pass_passes_alone() -> None:
    assert passes([50, 30, 30], PassLimits(9, 40)) == [[50], [30], [30]]


def test_what_waits_is_shared_among_the_workers() -> None:
    assert passes([10] * 8, PassLimits(99, 10_000), shares=2)[0] == [10] * 4


def test_what_is_removed_is_in_no_pass() -> None:
    queue = PassQueue[Text](PassLimits(9, 100))
    first, second, third = Text(5), Text(5), Text(7)
    queue.add([first, second, third])
    queue.remove([first, third, Text(5)])
    assert (len(queue), queue.tokens) == (1, 5)
    assert queue.take() == [second]
    queue.remove([second])
    assert (len(queue), queue.tokens, queue.take()) == (0, 0, [])


def test_tens_of_thousands_may_wait() -> None:
    queue = PassQueue[Text](PassLimits(32, 1_024))
    texts = [Text(number % 300) for number in range(50_000)]
    queue.add(texts)
    queue.add([Text(7)])
    queue.remove(texts)
    assert (len(queue), queue.tokens) == (1, 7)


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 8), st.integers(1, 1_000), st.integers(1, 4))
def test_everything_is_in_one_pass_and_every_pass_within_its_limits(
    tokens: list[int], items: int, max_tokens: int, shares: int
) -> None:
    found = passes(tokens, PassLimits(items, max_tokens), shares)
    assert sorted(count for batch in found for count in batch) == sorted(tokens)
    for batch in found:
        assert batch == sorted(batch)
        assert 1 <= len(batch) <= items
        assert len(batch) == 1 or len(batch) * batch[-1] <= max_tokens
