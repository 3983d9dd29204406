"""The base of every stage's configuration: frozen, and an unknown key is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Raises pydantic's ValidationError for unknown keys and values out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


_PLAIN_TEXTS = {
    "tuple_type": "Input should be a list",
    "list_type": "Input should be a list",
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
    "extra_forbidden": "there is no such field; leave it out",
}
"""In place of pydantic's texts that speak of Python, or do not say what to do."""


def issue_text(issue: Mapping[str, Any]) -> str:
    """What is wrong with one field, from `ValidationError.errors()`, without the prefix of a validator's own words."""
    if issue["type"] == "too_short":
        least = issue["ctx"]["min_length"]
        return f"must have at least {least} {'character' if isinstance(issue.get('input'), str) else 'item'}(s)"
    return _PLAIN_TEXTS.get(issue["type"], str(issue["msg"]).removeprefix("Value error, "))


@dataclass(frozen=True, slots=True)
class Unit:
    """Annotation of a setting: what it counts. `docs/configuration.md` takes other units from the setting's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Beyond:
    """Annotation of a setting that is a bound: what happens to a request or a document that goes beyond it."""

    consequence: str
