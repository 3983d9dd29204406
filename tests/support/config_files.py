"""Parts of a config file, as YAML gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Raw = dict[str, Any]
Refused = Callable[[Raw], list[str]]
"""The problems of a config; fails the test if there are none."""


def args(raw: Raw) -> Raw:
    found: Raw = raw["applications"][0]["args"]
    return found


def deployment(raw: Raw, name: str) -> Raw:
    return next(each for each in raw["applications"][0]["deployments"] if each["name"] == name)


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]
