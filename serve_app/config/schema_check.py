"""Checks data against a pydantic model: unknown keys, wrong shapes, and what the model itself refuses.

Serve ignores keys that it does not know, so its models are walked here.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from deployments.config import issue_text
from serve_app.config.problems import Problem, join_path


def schema_problems(value: Any, model: type[BaseModel], where: str) -> list[Problem]:
    """Everything in which `value` does not fit the model. `where`: its dotted path in the file."""
    return [*_shape_problems(value, model, where), *_validation_problems(value, model, where)]


def _shape_problems(value: Any, annotation: Any, where: str) -> Iterator[Problem]:
    """Unknown keys, wrong shapes, and the contents of models that their parent accepts as plain mappings."""
    members = _union_members(annotation)
    model = next((member for member in members if _is_model(member)), None)
    item_type = next((get_args(member)[0] for member in members if get_origin(member) is list), None)
    if model is not None:
        if not isinstance(value, Mapping):
            yield where, "a mapping is expected here"
            return
        yield from _unknown_keys(value, model, where)
        if dict in members:
            # Union[dict, Model]: pydantic accepts any dict, and Serve notices only when it deploys.
            yield from _validation_problems(value, model, where)
    elif item_type is not None and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _shape_problems(item, item_type, join_path(where, _item_name(index, item, item_type)))


def _unknown_keys(value: Mapping[Any, Any], model: type[BaseModel], where: str) -> Iterator[Problem]:
    fields = model.model_fields
    for key, inner in value.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(fields)}"
            yield join_path(where, key), f"unknown key; {remedy}"
        elif inner is not None:
            yield from _shape_problems(inner, fields[key].annotation, join_path(where, key))


def _union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone. `Dict` and `dict[…]` count as dict."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(dict if get_origin(member) is dict else member for member in members)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _item_name(index: int, item: Any, annotation: Any) -> str:
    """Deployments are shown by name, other items by index."""
    is_named = _is_model(annotation) and annotation.__name__ == "DeploymentSchema" and isinstance(item, Mapping)
    return str(item["name"]) if is_named and isinstance(item.get("name"), str) else str(index)


def _validation_problems(value: Any, model: type[BaseModel], where: str) -> list[Problem]:
    try:
        model.model_validate(copy.deepcopy(value))
    except ValidationError as error:
        return [
            (join_path(where, _field_path(value, issue["loc"], issue["type"])), _message(issue))
            for issue in error.errors()
            if issue["type"] != "extra_forbidden"  # _shape_problems reports it, with a hint
        ]
    except (AttributeError, TypeError):
        return []  # one of Serve's validators met an unexpected shape, which _shape_problems reports
    except (ValueError, ImportError) as error:
        return [(where, str(error))]
    return []


def _field_path(value: Any, loc: tuple[int | str, ...], kind: str) -> str:
    """The dotted path without the names of union members that pydantic adds to it."""
    parts: list[str] = []
    for part in loc:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            is_named = (
                parts[-1:] == ["deployments"] and isinstance(value, Mapping) and isinstance(value.get("name"), str)
            )
            parts.append(value["name"] if is_named else str(part))
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
            parts.append(str(part))
        elif kind == "missing":
            parts.append(str(part))
    return ".".join(parts)


def _message(issue: Any) -> str:
    message = issue_text(issue)
    if issue["type"] == "missing":
        return "is missing; set it"
    # Only values that cannot be a secret are repeated.
    if issue["type"] in ("literal_error", "enum") or isinstance(issue["input"], int | float | bool):
        return f"{message}, not {issue['input']!r}"
    return message
