"""Metadata filters: a small language, parsed into plain data, so that no query engine gets a caller's raw text.

    metadata.year >= 2018 and not (metadata.type in ["zakon", "uredba"] or language == 'en')

Only values of the same type are compared: text, numbers (as doubles) or booleans. If the document lacks the key, or its
value has another type, every comparison is false, `!=` too. So `not metadata.year == 2018` also finds documents without
a year, but `metadata.year != 2018` does not.

Two texts of metadata that are both times compare as moments (`filter_values.moment`). A list is equal to each value in
it, and passes no other comparison than `==` and `in`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, assert_never

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from deployments.errors import InvalidFilter
from deployments.filter_values import (
    INTEGERS,
    METADATA,
    STRING,
    Typed,
    Values,
    metadata_name,
    typed,
    unquoted,
    values_at,
)

Literal_ = str | int | float | bool
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field` is `document_id`, `language`, `collection`, or a name of metadata as `metadata_name` writes it."""

    field: str
    operator: Operator
    value: Literal_ | tuple[Literal_, ...]


@dataclass(frozen=True, slots=True)
class Not:
    operand: Filter


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Filter, ...]


Filter = Comparison | Not | And | Or

_FIELDS = 'metadata.<key>, metadata."<any key>", document_id, language, collection'

_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: operand (_AND operand)*
?operand: _NOT operand -> negation
    | "(" disjunction ")"
    | comparison
comparison: FIELD COMPARATOR literal
          | FIELD _IN "[" literal ("," literal)* "]" -> membership
?literal: STRING | NUMBER | BOOLEAN

_OR.2: /or\b/
_AND.2: /and\b/
_NOT.2: /not\b/
_IN.2: /in\b/
BOOLEAN.2: /(true|false)\b/
FIELD: /[^\W0-9](?:[\w.-]|<string>)*/
COMPARATOR: /[=!<>]=|[<>]/
NUMBER: /-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])/
STRING: /<string>/
%ignore /[ \t\r\n]+/
"""

_COMPARE: Mapping[Operator, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def parse(text: str, *, max_bytes: int = 2048, max_depth: int = 5) -> Filter:
    """Parse a filter. Raises InvalidFilter, which says where the text is wrong and how to correct it.

    `max_bytes` limits its size in UTF-8, `max_depth` the levels of and, or and not above a comparison.
    """
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidFilter("filter: it is not valid Unicode; send it as UTF-8", field="filter")
    if len(text.encode()) > max_bytes:
        raise InvalidFilter(
            f"filter: longer than {max_bytes} bytes; shorten it, or narrow by collection instead", field="filter"
        )
    try:
        parsed: Filter = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise InvalidFilter(_explain(text, error), field="filter") from None
    if (found := _depth(parsed)) > max_depth:
        raise InvalidFilter(
            f"filter: and, or and not are nested {found} deep; at most {max_depth} are allowed", field="filter"
        )
    return parsed


def matches(
    filter: Filter, *, document_id: str, language: str | None, collection: str, metadata: Mapping[str, Any]
) -> bool:
    """Whether a document passes the filter. This defines the meaning that every index must keep.

    `language` None is not known yet, and compares like a key that the document lacks.
    """

    def holds(node: Filter) -> bool:
        match node:
            case And(operands):
                return all(map(holds, operands))
            case Or(operands):
                return any(map(holds, operands))
            case Not(operand):
                return not holds(operand)
            case Comparison():
                return comparer(node)(actual(node.field))
            case _:
                assert_never(node)

    def actual(field: str) -> Values:
        if field.startswith(METADATA):
            return values_at(metadata, field)
        return label({"document_id": document_id, "language": language, "collection": collection}[field])

    return holds(filter)


def label(value: str | None) -> Values:
    """A document's own field, as filters compare it: never as a time. None is not known yet."""
    return Values() if value is None else Values((Typed("text", value),))


def comparer(comparison: Comparison) -> Callable[[Values], bool]:
    """Whether what a document has in the field passes the comparison."""
    members = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    expected = tuple(value for value in map(typed, members) if value is not None)
    how: Operator = "==" if comparison.operator == "in" else comparison.operator

    def holds(actual: Values) -> bool:
        if actual.is_list and how != "==":
            return False
        return any(_holds(how, value, member) for value in actual.typed for member in expected)

    return holds


def _holds(how: Operator, actual: Typed, expected: Typed) -> bool:
    if actual.type != expected.type or (actual.type == "boolean" and how not in ("==", "!=")):
        return False
    compare = _COMPARE[how]
    if actual.moment and expected.moment:
        return bool(compare(actual.moment, expected.moment))
    return bool(compare(actual.value, expected.value))


def _depth(node: Filter) -> int:
    match node:
        case Comparison():
            return 0
        case Not(operand):
            return 1 + _depth(operand)
        case And(operands) | Or(operands):
            return 1 + max(map(_depth, operands))
        case _:
            assert_never(node)


class _Builder(Transformer[Token, Filter]):
    """Builds the filter while parsing, so that deep nesting of brackets cannot exhaust the stack."""

    def FIELD(self, token: Token) -> str:
        name = str(token)
        if name in ("document_id", "language", "collection"):
            return name
        if (of_metadata := metadata_name(name)) is None:
            raise InvalidFilter(
                f"filter: unknown field {_excerpt(name)} at {_place(token)}; fields are {_FIELDS}", field="filter"
            )
        return of_metadata

    def NUMBER(self, token: Token) -> int | float:
        is_whole = token.lstrip("-").isdigit()
        if is_whole and int(token) not in INTEGERS:
            raise InvalidFilter(
                f"filter: the whole number at {_place(token)} has more than 64 bits; no metadata have one",
                field="filter",
            )
        if not math.isfinite(float(token)):
            raise InvalidFilter(
                f"filter: the number at {_place(token)} is too large; the limit is 1.7e308", field="filter"
            )
        return int(token) if is_whole else float(token)

    def BOOLEAN(self, token: Token) -> bool:
        return str(token) == "true"

    def STRING(self, token: Token) -> str:
        return unquoted(token)

    def comparison(self, children: list[Any]) -> Filter:
        field, comparator, value = children
        if isinstance(value, bool) and comparator not in ("==", "!="):
            raise InvalidFilter(
                f"filter: {str(comparator)!r} at {_place(comparator)} cannot order true and false; use == or !=",
                field="filter",
            )
        return Comparison(field, str(comparator), value)  # type: ignore[arg-type]

    def membership(self, children: list[Any]) -> Filter:
        field, *values = children
        return Comparison(field, "in", tuple(values))

    def negation(self, children: Sequence[Filter]) -> Filter:
        return Not(children[0])

    def conjunction(self, children: Sequence[Filter]) -> Filter:
        return And(tuple(children))

    def disjunction(self, children: Sequence[Filter]) -> Filter:
        return Or(tuple(children))


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR.replace("<string>", STRING), parser="lalr", transformer=_Builder())


def _explain(text: str, error: UnexpectedInput) -> str:
    position: int = getattr(error, "pos_in_stream", None) or 0
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"filter: it ends too early, after {len(text.rstrip())} characters; complete the comparison or bracket"
    remedy = f'write comparisons such as metadata.year >= 2018 or metadata.type in ["a", "b"]; fields are {_FIELDS}'
    if text[position] in "\"'" and isinstance(error, UnexpectedCharacters):
        remedy = "close the string with the same quote; inside it only \\\\ \\' \\\" \\n \\r \\t are escapes"
    return f"filter: unexpected {_excerpt(text[position:])} at character {position + 1}; {remedy}"


def _place(token: Token) -> str:
    return f"character {(token.start_pos or 0) + 1}"


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 24 else text[:24] + "…")
