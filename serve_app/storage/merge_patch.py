"""JSON merge patches (RFC 7396)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def apply_merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The target as the patch changes it, as a new object. Neither argument is changed.

    A None in the patch removes the key. An object is merged into the target's object. Any other value, a list too,
    replaces the target's value.
    """
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            old_value = result.get(key)
            result[key] = apply_merge_patch(old_value if isinstance(old_value, Mapping) else {}, value)
        else:
            result[key] = value
    return result
