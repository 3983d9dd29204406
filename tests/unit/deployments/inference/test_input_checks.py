from __future__ import annotations

import pytest

from deployments.errors import InvalidRequest
from deployments.inference.input_checks import check_text


def test_a_text_at_the_limit_passes() -> None:
    check_text("query", "čćšžđ", 5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("abcdef", "query: 6 characters, at most 5"), ("ab\ud800", "query: half of a surrogate pair at 2")],
)
def test_the_field_and_the_reason_are_named(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_text("query", text, 5)
