"""Metadata of documents as callers send it: what keys and values may be. Texts and keys are composed, as names are.

Whatever is accepted can be named and compared by a filter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from deployments.filter_values import INTEGERS, can_name
from serve_app.schemas.base import Name, composed, storable

MAX_DEPTH = 32
"""Levels of lists and objects in a value."""


def _composed_value(value: Any, place: tuple[str, ...] = ()) -> Any:
    """The value with its texts and keys composed. `place`: where in a key's value it is.

    Raises PydanticCustomError for what cannot be kept, and ValueError for a text that no database can.
    """
    match value:
        case str():
            return composed(storable(value))
        case bool():
            return value
        case int() if value not in INTEGERS:
            raise _unkept(place, "is a whole number of more than 64 bits; send it as text")
        case float() if not math.isfinite(value):
            raise _unkept(place, "is no finite number; numbers up to 1.7e308 can be kept")
        case Mapping() | list() if len(place) == MAX_DEPTH:
            raise _unkept((), f"is nested more than {MAX_DEPTH} deep; flatten it")
        case Mapping():
            return {_key(composed(storable(key))): _composed_value(each, (*place, key)) for key, each in value.items()}
        case list():
            return [_composed_value(each, (*place, str(at))) for at, each in enumerate(value)]
        case _:
            return value


def _unkept(place: tuple[str, ...], why: str) -> PydanticCustomError:
    return PydanticCustomError("unkept", "{why}", {"why": f"{'.'.join(place)} {why}".strip()})


def _key(text: str) -> str:
    """Raises PydanticCustomError for a key that no filter can name."""
    if not can_name(text):
        raise _unkept((), f"has the key {text[:80]!r}; a key has no control characters")
    return text


Metadata = dict[
    Annotated[Name, AfterValidator(_key)],
    Annotated[Any, AfterValidator(_composed_value)],
]
