"""Turns scopes and filters into Milvus boolean expressions, with the same meaning on milvus-lite and on a server.

Engines and versions of Milvus differ in JSON: whether `!=` or `not` hold for a missing key, or 1 equals true. So:

- Comparable metadata is also written as dynamic fields, whose names carry the value's type: `n_year`, `s_type`,
  `b_public`. All values of one field have the same type.
- `not` is moved down to the comparisons.
- A comparison that a missing key might pass also asks whether the key exists.

milvus-lite filters dynamic fields 4 to 8 times faster than paths into a JSON field (5,000 rows).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from deployments.errors import InvalidRequest
from deployments.filters import KEY, METADATA, And, Comparison, Filter, Literal_, Not, Or, ValueType, typed
from deployments.types import DocumentVersion, Scope

_PREFIX: Mapping[ValueType, str] = {"number": "n_", "text": "s_", "boolean": "b_"}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_NEVER, _ALWAYS = 'tenant_id == ""', 'tenant_id != ""'
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def facets(metadata: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """The dynamic fields that make a passage's metadata comparable."""
    fields: dict[str, str | float | bool] = {}
    for key, value in metadata.items():
        if KEY.fullmatch(key) and (typed_value := typed(value)) is not None:
            value_type, comparable = typed_value
            fields[_PREFIX[value_type] + key] = comparable
    return fields


def scope_expression(scope: Scope) -> str:
    """The passages that the asker may see. Raises InvalidRequest for a value that no expression can hold."""
    parts = [f"tenant_id == {_text(scope.tenant_id)}"]
    parts.append(f'owner in ["", {_text(scope.user_id)}]' if scope.user_id else 'owner == ""')
    if scope.collections:
        parts.append(f"collection in [{', '.join(map(_text, scope.collections))}]")
    if scope.visible is not None:
        parts.append(f"version <= {_text(scope.visible.newest)}")
        if scope.visible.hidden:
            parts.append(f"version not in [{', '.join(map(_text, scope.visible.hidden))}]")
    if scope.filter is not None:
        parts.append(f"({filter_expression(scope.filter)})")
    return " and ".join(parts)


def document_expression(tenant_id: str, document_id: str) -> str:
    """The passages of all versions of a document."""
    return f"tenant_id == {_text(tenant_id)} and document_id == {_text(document_id)}"


def versions_expression(tenant_id: str, versions: Sequence[DocumentVersion]) -> str:
    """The passages of these versions; there must be at least one."""
    conditions = (
        f"(document_id == {_text(version.document_id)} and version == {_text(version.version)})" for version in versions
    )
    return f"tenant_id == {_text(tenant_id)} and ({' or '.join(conditions)})"


def window_expression(tenant_id: str, document_id: str, version: str, *, after: int, limit: int) -> str:
    """The passages of a document's version at the `limit` positions after `after`."""
    of_version = f"{document_expression(tenant_id, document_id)} and version == {_text(version)}"
    return f"{of_version} and position > {after} and position <= {after + limit}"


def tenant_expression(tenant_id: str, collection: str = "") -> str:
    """A tenant's passages, or those of one of its collections."""
    expression = f"tenant_id == {_text(tenant_id)}"
    return f"{expression} and collection == {_text(collection)}" if collection else expression


def filter_expression(filter: Filter, *, negated: bool = False) -> str:
    """True for the documents that `filters.matches` accepts; if negated, for all others."""
    match filter:
        case Not(operand):
            return filter_expression(operand, negated=not negated)
        case And(operands) | Or(operands):
            word = " and " if isinstance(filter, And) is not negated else " or "
            return word.join(f"({filter_expression(operand, negated=negated)})" for operand in operands)
        case Comparison(field, _, tuple() as values):
            word = " and " if negated else " or "
            equalities = [_comparison(field, "==", value, negated) for value in values]
            return word.join(f"({equality})" for equality in equalities)
        case Comparison(field, operator, value):
            return _comparison(field, operator, value, negated)
        case _:
            assert_never(filter)


def _comparison(field: str, operator: str, value: Literal_ | tuple[Literal_, ...], negated: bool) -> str:
    typed_value = typed(value)
    if typed_value is None:
        return _ALWAYS if negated else _NEVER
    value_type, comparable = typed_value
    is_metadata = field.startswith(METADATA)
    orders_booleans = value_type == "boolean" and operator not in ("==", "!=")
    if orders_booleans or (value_type != "text" and not is_metadata):
        return _ALWAYS if negated else _NEVER
    literal = _literal(comparable)
    milvus_operator = _OPPOSITE[operator] if negated else operator
    if not is_metadata:
        return f"{field} {milvus_operator} {literal}"
    name = f'$meta["{_PREFIX[value_type]}{field.removeprefix(METADATA)}"]'
    if negated:
        return f"not exists {name} or {name} {milvus_operator} {literal}"
    return f"exists {name} and {name} {milvus_operator} {literal}"


def _literal(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A quoted string literal. Both engines know these escapes, and take all other characters literally."""
    if (bad := _UNPRINTABLE.search(value.translate(_ESCAPES))) is not None:
        raise InvalidRequest(f"the value {value!r} holds the control character {bad[0]!r}; remove it")
    return f'"{value.translate(_ESCAPES)}"'
