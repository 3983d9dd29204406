"""Metadata filters: a small language parsed into plain data, so that no caller's text reaches a query engine raw.

    metadata.year >= 2018 and not (metadata.type in ["zakon", "uredba"] or language == 'en')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Literal_ = str | int | float | bool
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field` is `document_id`, `language`, `collection`, or `metadata.` and a key of [A-Za-z0-9_-]."""

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
