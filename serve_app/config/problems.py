"""What is wrong with a config file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

Problem: TypeAlias = tuple[str, str]
"""A field's dotted path, and what is wrong with it and how to mend it."""


class ConfigError(Exception):
    """Why a file can't be started from. `problems`: one line each, beginning with the field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def raise_if_any(problems: Iterable[Problem]) -> None:
    """Raise ConfigError with the first problem of each field: the first is the clearest."""
    first: dict[str, str] = {}
    for field, message in problems:
        first.setdefault(field or "file", message)
    if first:
        raise ConfigError([f"{field}: {message}" for field, message in first.items()])


def join_path(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")
