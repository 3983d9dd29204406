from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.embedding.batches import batches


def test_texts_of_like_length_share_a_pass_the_longest_first() -> None:
    assert [*batches([2, 9, 3, 8], most_texts=2, most_tokens=100)] == [[1, 3], [2, 0]]


def test_padding_counts() -> None:
    assert [*batches([10, 1, 1], most_texts=9, most_tokens=20)] == [[0, 1], [2]]


def test_a_text_longer_than_a_pass_passes_alone() -> None:
    assert [*batches([50, 3, 3], most_texts=9, most_tokens=10)] == [[0], [1, 2]]


def test_no_texts_are_no_passes() -> None:
    assert [*batches([], most_texts=1, most_tokens=1)] == []


@given(st.lists(st.integers(0, 300)), st.integers(1, 8), st.integers(1, 1_000))
def test_every_text_is_in_one_pass_and_every_pass_within_its_bounds(
    tokens: list[int], most_texts: int, most_tokens: int
) -> None:
    found = [*batches(tokens, most_texts=most_texts, most_tokens=most_tokens)]
    assert sorted(place for batch in found for place in batch) == [*range(len(tokens))]
    for batch in found:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or len(batch) * max(tokens[place] for place in batch) <= most_tokens
