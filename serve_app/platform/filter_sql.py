"""Filters as SQL, so that the database passes over most documents that a filter refuses.

A condition here holds for every document that passes, and may hold for others. `filters.matches` then decides, and it
alone says what a filter means. Lists, most times and unusual keys are left to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol, assert_never

from sqlalchemy import ColumnElement, Float, Numeric, and_, case, cast, false, func, literal, not_, or_, true

from deployments.filter_values import METADATA, Typed, keys, typed
from deployments.filters import And, Comparison, Filter, Not, Or
from serve_app.storage.tables import Document

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Keys that every SQLite finds by their path, and that no database takes for a place in a list by mistake."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_IN_SQL: Final = "____-__-__"
_ULPS: Final = 4
"""By how many of the smallest steps a database may misread a number."""
_LARGEST: Final = 1.7976931348623157e308
MAX_WEIGHT: Final = 256
"""Of a filter that becomes SQL: for each of its comparisons, the values that it names times the square of its keys. A
heavier filter is left to `filters.matches`. Databases bound the depth and the parameters of a statement, and it is
built on the event loop."""

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A document passes only where `may_pass` holds, and fails only where `may_fail` does. Neither is ever NULL."""

    may_pass: Condition
    may_fail: Condition


class _Json(Protocol):
    """The JSON functions of a database, on a document's metadata."""

    texts: str
    numbers: tuple[str, ...]
    lists: str

    def type(self, path: tuple[str, ...]) -> ColumnElement[Any]: ...
    def is_boolean(self, path: tuple[str, ...], value: bool) -> Condition: ...
    def text(self, path: tuple[str, ...]) -> ColumnElement[str]: ...
    def number(self, path: tuple[str, ...]) -> ColumnElement[Any]: ...
    def exactly(self, number: float) -> ColumnElement[Any]: ...
    def by_code_points(self, text: Any) -> Any:
        """The text with Python's order, whatever order the database has."""


def may_pass(filter: Filter, *, embedded: bool) -> Condition:
    """The condition on documents that a filter may let pass. `embedded`: for SQLite, otherwise for PostgreSQL."""
    if _weight(filter) > MAX_WEIGHT:
        return true()
    return _bounds(filter, _Sqlite() if embedded else _PostgreSql()).may_pass


def _weight(node: Filter) -> int:
    match node:
        case And(operands) | Or(operands):
            return sum(map(_weight, operands))
        case Not(operand):
            return _weight(operand)
        case Comparison():
            members = len(node.value) if isinstance(node.value, tuple) else 1
            return members * (len(keys(node.field)) ** 2 if node.field.startswith(METADATA) else 1)
        case _:
            assert_never(node)


def _bounds(node: Filter, json: _Json) -> _Bounds:
    match node:
        case And(operands):
            parts = [_bounds(each, json) for each in operands]
            return _Bounds(and_(*(each.may_pass for each in parts)), or_(*(each.may_fail for each in parts)))
        case Or(operands):
            parts = [_bounds(each, json) for each in operands]
            return _Bounds(or_(*(each.may_pass for each in parts)), and_(*(each.may_fail for each in parts)))
        case Not(operand):
            inner = _bounds(operand, json)
            return _Bounds(inner.may_fail, inner.may_pass)
        case Comparison():
            return _of_metadata(node, json) if node.field.startswith(METADATA) else _of_label(node, json)
        case _:
            assert_never(node)


def _of_label(comparison: Comparison, json: _Json) -> _Bounds:
    """Of a document's own field. It is text, and never compares as a time."""
    column = {"document_id": Document.id, "language": Document.language, "collection": Document.collection}
    texts = [value.value for value in _expected(comparison) if value.type == "text"]
    own = json.by_code_points(column[comparison.field])
    holds = _known(or_(false(), *(_compared(comparison, own, text) for text in texts)))
    return _Bounds(holds, not_(holds))


def _of_metadata(comparison: Comparison, json: _Json) -> _Bounds:
    path = keys(comparison.field)
    if not all(_PLAIN_KEY.fullmatch(key) for key in path):
        return _Bounds(true(), true())
    parts = [_of_value(comparison, value, path, json) for value in _expected(comparison)]
    one_value = _Bounds(
        or_(false(), *(each.may_pass for each in parts)), and_(true(), *(each.may_fail for each in parts))
    )
    prefixes = [path[:length] for length in range(1, len(path) + 1)]
    in_list = _known(or_(*(json.type(prefix) == json.lists for prefix in prefixes)))
    return _Bounds(or_(in_list, one_value.may_pass), or_(in_list, one_value.may_fail))


def _of_value(comparison: Comparison, expected: Typed, path: tuple[str, ...], json: _Json) -> _Bounds:
    """Where no list is on the path."""
    match expected.value:
        case bool():
            same = json.is_boolean(path, expected.value if _operator(comparison) == "==" else not expected.value)
            return _Bounds(_known(same), not_(_known(same)))
        case str():
            return _of_text(comparison, expected, path, json)
        case _:
            is_number, number = json.type(path).in_(json.numbers), json.number(path)
            wide = _near(comparison, number, float(expected.value), _ULPS, json)
            narrow = _near(comparison, number, float(expected.value), -_ULPS, json)
            finite = and_(number >= json.exactly(-_LARGEST), number <= json.exactly(_LARGEST))
            return _Bounds(_known(and_(is_number, wide)), not_(_known(and_(is_number, finite, narrow))))


def _of_text(comparison: Comparison, expected: Typed, path: tuple[str, ...], json: _Json) -> _Bounds:
    is_text, text = _known(json.type(path) == json.texts), json.text(path)
    own = json.by_code_points(text)
    holds = _known(and_(json.type(path) == json.texts, _compared(comparison, own, str(expected.value))))
    if not expected.moment:
        return _Bounds(holds, not_(holds))
    # Two texts that are both times compare as moments. Two dates do so as texts, too.
    other_times = f"{_DATE_IN_SQL}_%" if _DATE.fullmatch(str(expected.value)) else f"{_DATE_IN_SQL}%"
    is_time = _known(and_(json.type(path) == json.texts, text.like(other_times)))
    return _Bounds(or_(holds, and_(is_text, is_time)), or_(not_(holds), is_time))


def _near(
    comparison: Comparison, number: ColumnElement[Any], expected: float, ulps: int, json: _Json
) -> ColumnElement[bool]:
    """The comparison, as if numbers `ulps` steps away from the expected one were equal to it, or were not if that is
    negative."""
    low, high = json.exactly(_stepped(expected, -ulps)), json.exactly(_stepped(expected, ulps))
    match _operator(comparison):
        case "==":
            return and_(number >= low, number <= high) if ulps > 0 else false()
        case "!=":
            return true() if ulps > 0 else or_(number < high, number > low)
        case "<":
            return number < high
        case "<=":
            return number <= high
        case ">":
            return number > low
        case _:
            return number >= low


def _stepped(number: float, steps: int) -> float:
    for _ in range(abs(steps)):
        number = math.nextafter(number, math.copysign(math.inf, steps))
    return max(-_LARGEST, min(number, _LARGEST))


def _compared(comparison: Comparison, column: ColumnElement[Any], value: object) -> Condition:
    compare: Callable[[Any], Any] = getattr(column, _METHODS[_operator(comparison)])
    return compare(value)  # type: ignore[no-any-return]


_METHODS: Final = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


def _operator(comparison: Comparison) -> str:
    return "==" if comparison.operator == "in" else comparison.operator


def _expected(comparison: Comparison) -> list[Typed]:
    members = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    return [value for value in map(typed, members) if value is not None]


def _known(condition: ColumnElement[Any]) -> Condition:
    """False for NULL: a document that lacks the key fails every comparison."""
    return func.coalesce(condition, false())


class _Sqlite:
    texts = "text"
    numbers: tuple[str, ...] = ("integer", "real")
    lists = "array"

    def type(self, path: tuple[str, ...]) -> ColumnElement[Any]:
        return func.json_type(Document.metadata_, self._path(path))

    def is_boolean(self, path: tuple[str, ...], value: bool) -> Condition:
        return self.type(path) == ("true" if value else "false")

    def text(self, path: tuple[str, ...]) -> ColumnElement[str]:
        return func.json_extract(Document.metadata_, self._path(path))

    def number(self, path: tuple[str, ...]) -> ColumnElement[Any]:
        return cast(self.text(path), Float)  # whole numbers too: filters compare all as doubles

    def exactly(self, number: float) -> ColumnElement[Any]:
        return literal(number, Float)

    def by_code_points(self, text: Any) -> Any:
        return text

    def _path(self, path: tuple[str, ...]) -> str:
        return "$" + "".join(f'."{key}"' for key in path)


class _PostgreSql:
    texts = "string"
    numbers: tuple[str, ...] = ("number",)
    lists = "array"

    def type(self, path: tuple[str, ...]) -> ColumnElement[Any]:
        return func.json_typeof(func.json_extract_path(Document.metadata_, *path))

    def is_boolean(self, path: tuple[str, ...], value: bool) -> Condition:
        return and_(self.type(path) == "boolean", self.text(path) == ("true" if value else "false"))

    def text(self, path: tuple[str, ...]) -> ColumnElement[str]:
        return func.json_extract_path_text(Document.metadata_, *path)

    def number(self, path: tuple[str, ...]) -> ColumnElement[Any]:
        """As a decimal. What a double cannot hold would fail the statement."""
        return case((self.type(path) == "number", cast(self.text(path), Numeric)))

    def exactly(self, number: float) -> ColumnElement[Any]:
        return literal(Decimal(number), Numeric)

    def by_code_points(self, text: Any) -> Any:
        return text.collate("C")
