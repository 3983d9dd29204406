"""What filters compare: where a value is in metadata, its type, and the moment that a text says.

A name is a path of keys with dots between them. A key that is not of letters, digits, `_` and `-` is written in quotes:
`metadata.odjel."broj telefona"`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

METADATA = "metadata."
MAX_VALUES = 1_000
"""Values that a document's metadata may have, those in lists and objects too. Each has a field of its own in a row of a
Milvus server, and all fields of a row take at most 64 KiB."""
INTEGERS = range(-(2**63), 2**63)
"""Whole numbers that every index and database takes."""
_ESCAPED = r"""\\["'\\nrt]"""
STRING = rf"""\"(?:[^"\\\x00-\x1f\x7f]|{_ESCAPED})*\"|'(?:[^'\\\x00-\x1f\x7f]|{_ESCAPED})*'"""
"""A text in quotes, as a regular expression."""
_PLAIN_KEY = r"[\w-]+"
_KEY = re.compile(rf"{_PLAIN_KEY}|{STRING}")
_NAME = re.compile(rf"metadata(?:\.(?:{_PLAIN_KEY}|{STRING}))+")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII
)

ValueType = Literal["text", "number", "boolean"]


class Typed(NamedTuple):
    """A value's type and its comparable form. `moment` is what a text says that is a time, else empty."""

    type: ValueType
    value: str | float | bool
    moment: str = ""


class Values(NamedTuple):
    """The comparable values under a name: at most one, unless it leads into a list."""

    typed: tuple[Typed, ...] = ()
    is_list: bool = False


def unquoted(text: str) -> str:
    """What a text in quotes says."""
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), text[1:-1])


def metadata_name(text: str) -> str | None:
    """The one way to write the name; None for what names no metadata."""
    return METADATA + _written(keys(text)) if _NAME.fullmatch(text) else None


@lru_cache(maxsize=1_024)
def keys(name: str) -> tuple[str, ...]:
    """The keys in the name of metadata."""
    found = _KEY.findall(name.removeprefix(METADATA))
    return tuple(unquoted(key) if key[0] in "\"'" else key for key in found)


def values_at(metadata: Mapping[str, Any], name: str) -> Values:
    """What is under the name of metadata."""
    path = keys(name)
    if len(path) == 1 and not isinstance(value := metadata.get(path[0]), list | tuple):  # most are, and it is faster
        return Values() if (single := typed(value)) is None else Values((single,))
    found: list[Any] = [metadata]
    is_list = False
    for key in path:
        found = [each[key] for each in found if isinstance(each, Mapping) and key in each]
        if any(isinstance(each, list | tuple) for each in found):
            found, is_list = list(_elements(found)), True
    return Values(tuple(filter(None, map(typed, found))), is_list)


def can_name(key: str) -> bool:
    """Whether a filter can name the key: it has no control characters."""
    return not any(unicodedata.category(character) == "Cc" for character in key)


def count_values(metadata: Mapping[str, Any]) -> int:
    """Values that `MAX_VALUES` counts."""
    return sum(len(values.typed) for values in values_by_name(metadata).values())


def values_by_name(metadata: Mapping[str, Any]) -> dict[str, Values]:
    """Name → what `values_at` gives for it, of all names that have a value. The names are without `metadata.`."""
    found: defaultdict[str, list[Typed]] = defaultdict(list)
    lists: set[str] = set()

    def collect(path: tuple[str, ...], value: Any, in_list: bool) -> None:
        match value:
            case Mapping():
                for key, inner in value.items():
                    collect((*path, key), inner, in_list)
            case list() | tuple():
                for each in value:
                    collect(path, each, True)
            case _ if (each := typed(value)) is not None:
                name = _written(path)
                found[name].append(each)
                if in_list:
                    lists.add(name)

    collect((), metadata, False)
    return {name: Values(tuple(each), name in lists) for name, each in found.items()}


def typed(value: object) -> Typed | None:
    """None for what cannot be compared, such as objects and null."""
    match value:
        case bool():
            return Typed("boolean", value)
        case str():
            return Typed("text", value, moment(value))
        case int() | float():
            try:
                number = float(value)
            except OverflowError:
                return None
            return Typed("number", number) if math.isfinite(number) else None
        case _:
            return None


def moment(text: str) -> str:
    """The moment that a text says, as ISO 8601 has it, in a form that sorts by time. Empty for a text that is no time.

    A date alone is its first moment, and a time without a zone is UTC's.
    """
    return _moment(*parts.groups()) if (parts := _TIME.fullmatch(text)) is not None else ""


@lru_cache(maxsize=4_096)
def _moment(date: str, time: str | None, seconds: str | None, fraction: str | None, zone: str | None) -> str:
    written = f"{date}T{time or '00:00'}:{seconds or '00'}{(zone or 'Z').upper()}"
    try:
        at = datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{at.replace(tzinfo=None).isoformat(timespec='seconds')}.{(fraction or '').rstrip('0')}"


def _elements(values: Iterable[Any]) -> Iterator[Any]:
    """The values, with lists replaced by what is in them."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _elements(value)
        else:
            yield value


def _written(path: Iterable[str]) -> str:
    return ".".join(map(_written_key, path))


def _written_key(key: str) -> str:
    if re.fullmatch(_PLAIN_KEY, key):
        return key
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    for letter, character in _ESCAPES.items():
        quoted = quoted.replace(character, f"\\{letter}")
    return f'"{quoted}"'
