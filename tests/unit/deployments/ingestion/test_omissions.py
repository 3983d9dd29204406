from __future__ import annotations

from typing import get_args

import pytest

from deployments.ingestion.omissions import (
    MAX_COUNT,
    MAX_WARNING_CHARACTERS,
    MAX_WARNINGS,
    Omission,
    checked,
    warnings,
)


def test_warnings_count_what_was_left_out_in_plain_words() -> None:
    assert warnings({"picture": 2, "chart": 1}) == ("1 chart", "2 pictures without text")
    assert warnings({"attachment_kind": 1, "page": 1_200}) == (
        "1,200 pages without text",
        "1 attachment of a kind that is not read",
    )


def test_nothing_left_out_is_no_warning() -> None:
    assert warnings({}) == warnings({"chart": 0}) == ()


def test_each_kind_has_words_and_all_of_them_keep_the_bounds() -> None:
    said = warnings(dict.fromkeys(get_args(Omission), MAX_COUNT))
    assert len(set(said)) == len(get_args(Omission)) <= MAX_WARNINGS
    assert max(map(len, said)) <= MAX_WARNING_CHARACTERS


@pytest.mark.parametrize("answer", [None, [], "chart", {"": 1}, {"x" * 10**6: 1}, {"chart": "2"}, {"chart": True}])
def test_what_is_no_count_of_a_known_kind_is_ignored(answer: object) -> None:
    assert checked(answer) == {}


def test_counts_are_bounded() -> None:
    assert checked({"chart": 10**30, "page": -5, "picture": 0, "media": 3}) == {"chart": MAX_COUNT, "media": 3}
