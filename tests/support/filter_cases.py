"""Metadata, a filter, and whether it holds: what every place that evaluates filters must say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MOMENT = "2026-03-29T00:30:00Z"


class FilterCase(NamedTuple):
    metadata: dict[str, Any]
    filter: str
    holds: bool


def _compared(value: Any, other: str, *operators: str) -> Iterator[FilterCase]:
    """That `metadata.x` with this value passes these comparisons with a literal, and no others."""
    for operator in ("==", "!=") if other in ("true", "false") else ("==", "!=", "<", "<=", ">", ">="):
        yield FilterCase({"x": value}, f"metadata.x {operator} {other}", operator in operators)
    yield FilterCase({"x": value}, f"metadata.x in ['other', 0, {other}]", "==" in operators)
    yield FilterCase({"x": value}, f"not metadata.x == {other}", "==" not in operators)


def _cases() -> Iterator[FilterCase]:
    # Times: one moment, written with any zone.
    equal, earlier, later = ("==", "<=", ">="), ("!=", "<", "<="), ("!=", ">", ">=")
    for same in (
        "2026-03-29T02:30:00+02:00", MOMENT, "2026-03-28T19:00-05:30", "2026-03-29 00:30:00Z",
        "2026-03-29T00:30:00.000Z", "2026-03-29t00:30:00z", "2026-03-29T00:30:00", "2026-03-29T02:30+0200",
    ):  # fmt: skip
        yield from _compared(same, f"'{MOMENT}'", *equal)
        yield from _compared(MOMENT, f"'{same}'", *equal)
    yield from _compared("2026-03-29T02:29:59+02:00", f"'{MOMENT}'", *earlier)
    yield from _compared("2026-03-29T01:30:00+00:00", f"'{MOMENT}'", *later)
    yield from _compared("2026-03-29T00:30:00.000000001Z", f"'{MOMENT}'", *later)
    yield from _compared("2026-03-29T00:30:00.10Z", "'2026-03-29T00:30:00.1Z'", *equal)
    yield from _compared("0001-01-01T00:00:00Z", "'9999-12-31T23:59:59Z'", *earlier)
    # A date without a time is its midnight, and a time without a zone is UTC's.
    yield from _compared("2026-03-29", "'2026-03-29T02:00:00+02:00'", *equal)
    yield from _compared("2026-03-29", f"'{MOMENT}'", *earlier)
    yield from _compared("2026-03-29", "'2026-03-29'", *equal)
    # What is no time compares as text, with a time too.
    yield from _compared(MOMENT, "'2026-03'", *later)
    yield from _compared("2026-03", f"'{MOMENT}'", *earlier)
    yield from _compared("2026-02-30", "'2026-02-30T00:00:00Z'", *earlier)
    yield from _compared("2026-03-29T25:00:00Z", f"'{MOMENT}'", *later)
    yield from _compared("20260329", "'2026-03-29'", *later)
    yield from _compared("0001-01-01T00:00:00+02:00", "'0001-01-01T00:00:00Z'", *earlier)
    yield from _compared("uredba", f"'{MOMENT}'", *later)
    yield from _compared(2026, "'2026-03-29'")
    yield FilterCase({}, f"document_id == '{MOMENT}'", False)
    # A list is equal to each of its values, and passes no other comparison.
    yield from _compared(["a", 1, True, None, MOMENT], "'a'", "==")
    yield from _compared(["a", 1, True], "1", "==")
    yield from _compared(["a", 1, True], "true", "==")
    yield from _compared(["a", 1], "true")
    yield from _compared([True], "1")
    yield from _compared([-0.0], "0", "==")
    yield from _compared([1.5, 2], "2.0", "==")
    yield from _compared(["b"], "'a'")
    yield from _compared([], "'a'")
    yield from _compared([None], "'a'")
    yield from _compared(["2026-03-29T02:30:00+02:00"], f"'{MOMENT}'", "==")
    yield from _compared([["a"], "b"], "'a'", "==")
    # Values in objects, and objects in lists.
    yield FilterCase({"a": {"b": 1}}, "metadata.a.b == 1", True)
    yield FilterCase({"a": {"b": 1}}, "metadata.a.b > 1", False)
    yield FilterCase({"a": {"b": 1}}, "metadata.a == 1", False)
    yield FilterCase({"a": {"b": 1}}, "metadata.b == 1", False)
    yield FilterCase({"a": {"b": {"c": "x"}}}, "metadata.a.b.c >= 'x'", True)
    yield FilterCase({"a": {"b": MOMENT}}, "metadata.a.b == '2026-03-29T02:30:00+02:00'", True)
    yield FilterCase({"a": 1}, "metadata.a.b == 1", False)
    yield FilterCase({"a": [{"b": 1}, {"b": 2}, {"c": 3}, 4]}, "metadata.a.b == 2", True)
    yield FilterCase({"a": [{"b": 1}, {"b": 2}]}, "metadata.a.b > 1", False)
    yield FilterCase({"a": [{"b": 1}]}, "metadata.a.b == 1 and not metadata.a.b == 2", True)
    yield FilterCase({"a": {"b": 1}, "a.b": 2}, "metadata.a.b == 1", True)
    yield FilterCase({"a": {"b": 1}, "a.b": 2}, 'metadata."a.b" == 2', True)
    yield FilterCase({"a.b": 2}, "metadata.a.b == 2", False)
    # Keys of any letters, and any key in quotes.
    for key, written in (
        ("država", "država"), ("država", '"država"'), ("年", "年"), ("a b", '"a b"'), ("a b", "'a b'"),
        ('q"\\', '"q\\"\\\\"'), ("€/$", '"€/$"'), ("", '""'), ("n_x", "n_x"), ("x" * 250, "x" * 250), ("and", "and"),
    ):  # fmt: skip
        yield FilterCase({key: "v"}, f"metadata.{written} == 'v'", True)
        yield FilterCase({"other": {key: ["v"]}}, f"metadata.other.{written} == 'v'", True)
        yield FilterCase({"other": "v"}, f"metadata.{written} == 'v'", False)


CASES = tuple(_cases())
