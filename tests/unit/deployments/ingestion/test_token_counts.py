from __future__ import annotations

import pytest

from deployments.ingestion.fake import word_tokenizer
from deployments.ingestion.token_counts import TokenCounts

TEXT = "Uvod. " + " ".join(f"riječ{number} dva, tri" for number in range(60))


@pytest.fixture
def counts() -> TokenCounts:
    made = TokenCounts(word_tokenizer(), 2_000)
    made.read(TEXT)
    return made


@pytest.mark.parametrize("begin", [0, 6, TEXT.index("riječ7 "), TEXT.index("dva, tri riječ30")])
@pytest.mark.parametrize("end", [TEXT.index(" riječ40"), TEXT.index("tri riječ50"), len(TEXT)])
def test_a_part_of_a_text_has_as_many_tokens_as_by_itself(counts: TokenCounts, begin: int, end: int) -> None:
    part = TEXT[begin:end]
    assert counts.of_part(part) == counts.of_part(f"\n  {part}") == counts.of(part)


def test_a_part_that_ends_within_a_word_has_no_fewer(counts: TokenCounts) -> None:
    for end in range(100, 200):
        for begin in range(6, 16):
            part = TEXT[begin:end]
            assert 0 <= counts.of_part(part) - counts.of(part) <= 2


@pytest.mark.parametrize("part", ["", " " * 100, "riječ", "x " * 50, "Nema ovoga. " * 10])
def test_what_is_short_or_not_in_the_text_is_read(counts: TokenCounts, part: str) -> None:
    assert counts.of_part(part) == counts.of(part)


def test_a_token_counts_for_ten_characters_at_most(counts: TokenCounts) -> None:
    assert counts.of("a" * 101) == counts.of_each(["a" * 101])[0] == counts.of_part("a" * 101) == 11
    assert counts.of("a " * 1_001) == counts.of_part("a " * 1_001) == 201
    assert counts.of_each(["a " * 1_001]) == [1_000]
