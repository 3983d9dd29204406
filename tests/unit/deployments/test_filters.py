from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InvalidFilter
from deployments.filters import And, Comparison, Filter, Not, Or, matches, parse

DOCUMENT: dict[str, Any] = {"document_id": "d1", "language": "hr", "collection": "zakoni"}


def holds(text: str, **metadata: Any) -> bool:
    return matches(parse(text), **DOCUMENT, metadata=metadata)


def quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


def write(filter: Filter) -> str:
    """A filter as text, each operand in brackets."""
    match filter:
        case Not(operand):
            return f"not ({write(operand)})"
        case And(operands):
            return " and ".join(f"({write(operand)})" for operand in operands)
        case Or(operands):
            return " or ".join(f"({write(operand)})" for operand in operands)
        case Comparison(field, operator, tuple() as values):
            return f"{field} {operator} [{', '.join(map(write_literal, values))}]"
        case Comparison(field, operator, value):
            return f"{field} {operator} {write_literal(value)}"  # type: ignore[arg-type]
    raise AssertionError(filter)


def write_literal(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else repr(value)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r\t"), max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
literals = texts | numbers | st.booleans()
fields = st.sampled_from(
    ["document_id", "language", "collection", "metadata.year", "metadata.a-b_C", "metadata.and", "metadata.č.b"]
)
comparisons = st.one_of(
    st.builds(Comparison, fields, st.sampled_from(["==", "!="]), literals),
    st.builds(Comparison, fields, st.sampled_from(["<", "<=", ">", ">="]), texts | numbers),
    st.builds(Comparison, fields, st.just("in"), st.lists(literals, min_size=1, max_size=4).map(tuple)),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@given(filters)
def test_what_is_written_is_read_back(filter: Filter) -> None:
    assert parse(write(filter), max_bytes=100_000, max_depth=50) == filter


@given(st.text(max_size=60) | st.text(alphabet="metadata.x ()[]='\"<>!andorti12,\\", max_size=60))
def test_any_text_is_a_filter_or_refused_as_one(text: str) -> None:
    message = "filter: "
    try:
        parse(text)
    except InvalidFilter as error:
        message = error.message
    assert message.startswith("filter: ")
    assert "lark" not in message.lower()
    assert "Token" not in message


def test_precedence_is_not_and_or() -> None:
    a, b, c = (Comparison(f"metadata.{key}", "==", 1) for key in "abc")
    assert parse("metadata.a == 1 or not metadata.b == 1 and metadata.c == 1") == Or((a, And((Not(b), c))))
    assert parse("(metadata.a == 1 or metadata.b == 1) and metadata.c == 1") == And((Or((a, b)), c))


def test_the_designs_example() -> None:
    text = "metadata.year >= 2018 and metadata.type == 'zakon'"
    assert holds(text, year=2018, type="zakon")
    assert not holds(text, year=2017, type="zakon")


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("", "ends too early", "complete"),
        ("   ", "ends too early", "complete"),
        ("metadata.a ==", "after 13 characters", "complete"),
        ("(metadata.a == 1", "after 16 characters", "bracket"),
        ("metadata.a = 1", "character 12", "metadata.year >= 2018"),
        ("metadata.a == 1 x", "'x' at character 17", "write"),
        ("metadata.a == 1; drop", "character 16", "write"),
        ("metadata.a in []", "']' at character 16", "write"),
        ("metadata.a in 5", "character 15", "write"),
        ("metadata.a == 'x", "character 15", "same quote"),
        ("metadata.a == 'x\\q'", "character 15", "escapes"),
        ("metadata.a == 'x\ny'", "character 15", "escapes"),
        ("metadata.a == 'x\x00'", "character 15", "escapes"),
        ("metadata.a == 1x", "character 15", "write"),
        ("metadata.a == 1e999", "character 15", "1.7e308"),
        ("metadata.a == 9223372036854775808", "character 15", "64 bits"),
        ("metadata.a in [1, -9223372036854775809]", "character 19", "64 bits"),
        ("metadata.a == 1" + "0" * 400, "character 15", "64 bits"),
        ("metadata.a < true", "character 12", "== or !="),
        ("year > 1", "'year' at character 1", "metadata.<key>"),
        ("metadata..b > 1", "'metadata..b'", "metadata.<key>"),
        ('metadata.a"b" > 1', "'metadata.a\"b\"'", "any key"),
        ('metadata."a > 1', "'metadata.' at character 1", "any key"),
        ("metadata.odd key == 1", "'key == 1' at character 14", "any key"),
        ("metadata. > 1", "'metadata.'", "metadata.<key>"),
        ("tenant_id == 'other'", "'tenant_id'", "fields are"),
        ("owner == 'other'", "'owner'", "fields are"),
        ("metadata.€ == 1", "'metadata.' at character 1", "any key"),
        ("metadata.a == '\ud800'", "Unicode", "UTF-8"),
        ("metadata.a == '" + "č" * 1100 + "'", "2048 bytes", "shorten"),
        ("not not not not not not metadata.a == 1", "6 deep", "at most 5"),
    ],
)
def test_errors_name_the_place_and_the_remedy(text: str, place: str, remedy: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(text)
    assert place in caught.value.message
    assert remedy in caught.value.message


def test_limits_are_exact() -> None:
    text = "not not not not not metadata.a == 1"
    assert parse(text, max_bytes=len(text))
    with pytest.raises(InvalidFilter, match="bytes"):
        parse(text, max_bytes=len(text) - 1)
    with pytest.raises(InvalidFilter, match="at most 4"):
        parse(text, max_depth=4)


def test_brackets_alone_cannot_exhaust_the_stack() -> None:
    assert parse("(" * 1000 + "metadata.a == 1" + ")" * 1000) == Comparison("metadata.a", "==", 1)
    with pytest.raises(InvalidFilter):
        parse("not(" * 500 + "metadata.a == 1" + ")" * 500, max_bytes=10_000)


def test_fields_of_the_document() -> None:
    assert holds("document_id == 'd1' and language in ['hr'] and collection != 'x'")
    assert not holds("collection < 'a'")
    assert not holds("document_id == 1")


def test_a_missing_key_makes_every_comparison_false() -> None:
    for operator in ("==", "!=", "<", "<=", ">", ">="):
        assert not holds(f"metadata.year {operator} 2018")
        assert holds(f"not metadata.year {operator} 2018")
    assert not holds("metadata.year in [2018]")
    assert not holds("metadata.year != 2018", year=None)


@pytest.mark.parametrize("value", ["2018", True, [2017], {"a": 2018}, None, float("nan"), 10**400])
def test_a_value_of_another_kind_makes_every_comparison_false(value: object) -> None:
    for operator in ("==", "!=", "<", ">="):
        assert not holds(f"metadata.year {operator} 2018", year=value)


def test_one_is_not_true() -> None:
    assert not holds("metadata.x == true", x=1)
    assert not holds("metadata.x == 1", x=True)
    assert not holds("metadata.x in [1, 'true']", x=True)
    assert holds("metadata.x in [1, true]", x=True)


def test_numbers_compare_across_int_and_float() -> None:
    assert holds("metadata.x == 1", x=1.0)
    assert holds("metadata.x > 0.5", x=1)
    assert holds("metadata.x >= -1.5e-3", x=0)


@given(filters, st.dictionaries(st.sampled_from(["year", "a-b_C", "and"]), literals | st.none(), max_size=3))
def test_not_is_the_opposite(filter: Filter, metadata: dict[str, Any]) -> None:
    assert matches(Not(filter), **DOCUMENT, metadata=metadata) is not matches(filter, **DOCUMENT, metadata=metadata)
