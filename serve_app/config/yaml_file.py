"""Reads YAML strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from serve_app.config.problems import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice. YAML does not allow it; PyYAML keeps the last one without a word."""


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        if key_node.value in keys:
            raise yaml.constructor.ConstructorError(None, None, f"{key_node.value} is given twice", key_node.start_mark)
        keys.add(key_node.value)
    loader.flatten_mapping(node)
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"file: {error.strerror}; name an existing one"]) from None
    except UnicodeDecodeError:
        raise ConfigError(["file: not UTF-8 text; save it as UTF-8"]) from None
    try:
        raw = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([f"line {line}: not valid YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"file: not valid YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError(["file: must be a mapping of Serve's config keys; see cluster/local.yaml"])
    return raw
