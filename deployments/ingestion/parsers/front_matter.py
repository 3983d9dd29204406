"""Reads the fields that may stand above a text: YAML between lines of `---`, or TOML between lines of `+++`.

They are metadata of the document, and no text of it. What only looks like them, such as a text between two rules, is.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from deployments.filter_values import INTEGERS, can_name
from deployments.ingestion.parsers import core_yaml
from deployments.ingestion.parsers.text import clean

_CHARACTERS = 65_536
"""A longer block is text. Its fields, written out, hold no more characters and values either."""
_DEPTH = 5
"""Lists and maps within one another."""
_KEY_CHARACTERS = 256
_TITLE_KEYS = ("title", "naslov")
_KEYS_OF_TEXTS = frozenset(
    (
        "title",
        "naslov",
        "subtitle",
        "podnaslov",
        "opis",
        "sažetak",
        "author",
        "authors",
        "autor",
        "autori",
        "date",
        "datum",
        "tags",
        "oznake",
        "keywords",
        "category",
        "categories",
        "description",
        "summary",
        "abstract",
        "excerpt",
        "lang",
        "language",
    )
)
"""Keys that have a sentence in front matter. One of them shows that a block is front matter."""
_WORDS = 4
"""A line under another key, with as many words, is a sentence: `Važno: rok je danas.`"""
_SENTENCE_ENDS = (".", "!", "?", "…")
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n(?=\S)")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """`fields` are JSON. `left_out` counts those that cannot be. `end`: where the text begins."""

    title: str
    fields: Mapping[str, Any]
    left_out: int
    end: int


_FORMATS: tuple[tuple[re.Pattern[str], Callable[[str], object]], ...] = tuple(
    (
        re.compile(
            rf"\ufeff?{begin}[ \t]*\r?\n(.{{0,{_CHARACTERS}}}?)^(?:{end})[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
        ),
        load,
    )
    for begin, end, load in (("---", r"---|\.\.\.", core_yaml.load), (r"\+\+\+", r"\+\+\+", tomllib.loads))
)


def read(text: str) -> FrontMatter | None:
    """None for a text without front matter."""
    for pattern, load in _FORMATS:
        if block := pattern.match(text):
            try:
                loaded = load(block[1])
            except MemoryError:
                raise
            except Exception:  # the libraries raise any error for values that are not what their tags say
                return None
            if not isinstance(loaded, dict) or _is_prose(block[1], loaded):
                return None
            return _front_matter(loaded, block.end())
    return None


def _is_prose(block: str, loaded: Mapping[object, object]) -> bool:
    """Whether the block is text between two rules, whose paragraphs begin as `Važno: rok je danas.` does.

    One field is prose if it is a sentence. Several are if each ends as a sentence does, or if they are paragraphs and
    one is a sentence. A key of `_KEYS_OF_TEXTS` or a value that is no text shows that the block is front matter.
    """
    keys = {str(key).strip().casefold() for key in loaded}
    if keys & _KEYS_OF_TEXTS or not all(isinstance(value, str) for value in loaded.values()):
        return False
    lines = [f"{key}: {text}" for key, text in loaded.items()]
    sentences = [line for line in lines if len(line.split()) >= _WORDS]
    if len(lines) == 1 or _PARAGRAPHS.search(block.strip()):
        return bool(sentences)
    return bool(lines) and all(line in sentences and line.endswith(_SENTENCE_ENDS) for line in lines)


def _front_matter(loaded: Mapping[object, object], end: int) -> FrontMatter:
    fields: dict[str, Any] = {}
    remaining = _CHARACTERS
    for name, value in loaded.items():
        key, json = clean(str(name)), _Json(remaining)
        with suppress(ValueError):
            if 0 < len(key) <= _KEY_CHARACTERS and can_name(key):
                fields[key] = json.of(value)
                remaining = json.remaining
    named = {key.casefold(): value for key, value in fields.items() if type(value) in (str, int)}
    title = next((str(named[key]) for key in _TITLE_KEYS if key in named), "")
    return FrontMatter(" ".join(title.split()), fields, len(loaded) - len(fields), end)


class _Json:
    """Makes a value JSON. Dates and times become text, as ISO 8601 has them. `remaining`: characters and values that it
    may have."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining

    def of(self, value: object, depth: int = 0) -> Any:
        """Raises ValueError for what JSON cannot hold, and for too much of it."""
        self._spend(1)
        if depth > _DEPTH:
            raise ValueError("nested too deeply")
        match value:
            case str():
                self._spend(len(value))
                return clean(value)
            case None | bool():
                return value
            case int() if value in INTEGERS:
                return value
            case float() if math.isfinite(value):
                return value
            case date() | time():
                return value.isoformat()
            case list():
                return [self.of(each, depth + 1) for each in value]
            case dict():
                return {self._key(key): self.of(each, depth + 1) for key, each in value.items()}
            case _:
                raise ValueError("no JSON")

    def _key(self, key: object) -> str:
        text: str = self.of(str(key))
        if not can_name(text):
            raise ValueError("no filter can name the key")
        return text

    def _spend(self, characters: int) -> None:
        self.remaining -= characters
        if self.remaining < 0:
            raise ValueError("too many values")
