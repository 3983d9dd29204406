from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from serve_app.schemas.base import explain
from serve_app.schemas.metadata import MAX_DEPTH, Metadata

_metadata = TypeAdapter[dict[str, Any]](Metadata)


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def refusal(value: Any) -> str:
    with pytest.raises(ValidationError) as found:
        _metadata.validate_python({"x": value})
    return explain(found.value.errors())


@pytest.mark.parametrize(
    "value",
    [0, -(2**63), 2**63 - 1, 1.7e308, True, None, "čšž", ["a", {"b": [1]}], {}, nested(MAX_DEPTH)],
)
def test_what_can_be_kept_stays_as_it_is(value: Any) -> None:
    assert _metadata.validate_python({"x": value}) == {"x": value}
    assert _metadata.validate_json(json.dumps({"x": value})) == {"x": value}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
def test_a_whole_number_of_more_than_64_bits_is_refused(value: int) -> None:
    assert refusal(value) == "x: is a whole number of more than 64 bits; send it as text"
    assert refusal([1, {"y": value}]) == "x: 1.y is a whole number of more than 64 bits; send it as text"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    assert refusal(value).startswith("x: is no finite number")
    assert refusal({"y": [value]}).startswith("x: y.0 is no finite number")


def test_what_is_nested_too_deeply_is_refused() -> None:
    assert refusal(nested(MAX_DEPTH + 1)) == f"x: is nested more than {MAX_DEPTH} deep; flatten it"


@pytest.mark.parametrize("value", ["a\0", "\ud800", ["a\0"], {"\0": 1}])
def test_a_text_that_no_database_keeps_is_refused(value: Any) -> None:
    assert refusal(value).startswith("x: ")


@pytest.mark.parametrize("metadata", [{"a\nb": 1}, {"\x7f": 1}, {"x": [{"a\x01": 1}]}])
def test_a_key_that_no_filter_can_name_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as found:
        _metadata.validate_python(metadata)
    assert "a key has no control characters" in explain(found.value.errors())


def test_texts_and_keys_are_composed_wherever_they_are() -> None:
    def sent(text: str) -> str:
        return unicodedata.normalize("NFD", text)

    given = {sent("č"): [sent("š"), {sent("ž"): sent("đć")}], "n": 1}
    assert _metadata.validate_python(given) == {"č": ["š", {"ž": "đć"}], "n": 1}
