"""The base of every stage's configuration: frozen, and an unknown key is an error."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Raises pydantic's ValidationError for unknown keys and values out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Unit:
    """Annotation of a setting: what it counts. `docs/configuration.md` takes other units from the setting's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Beyond:
    """Annotation of a setting that is a bound: what happens to a request or a document that goes beyond it."""

    consequence: str
