"""Reads YAML as version 1.2's core schema has it: `no`, `12:30` and dates are texts. Keys are texts as written.

Unlike there, digits that begin with a zero are a text too: they are codes, as of a post office.

Merge keys are refused, because few of them can stand for millions of values.
"""

from __future__ import annotations

import re

import yaml

_ALIASES = 20
"""References in one block. Each may stand for others, so that few could stand for millions of values."""
_NESTING = 32
"""Lists and maps within one another in one block."""
_TAG = "tag:yaml.org,2002:"
_WHOLE = "(?:0|[1-9][0-9]*)"
_CORE_SCHEMA = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": rf"[-+]?{_WHOLE}|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": rf"[-+]?(?:\.[0-9]+|{_WHOLE}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
_BASES = {"0o": 8, "0x": 16}


def load(block: str) -> object:
    """Raises YAMLError, and any other error for values that are not what their tags say."""
    return yaml.load(block, _Loader)


class _Loader(yaml.SafeLoader):
    """Raises YAMLError for more than `_ALIASES` references or `_NESTING` levels, and for merge keys."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the library's, and of this class alone
    aliases = 0
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.aliases > _ALIASES:
            raise yaml.YAMLError("too many aliases")
        if self.level > _NESTING:
            raise yaml.YAMLError("nested too deeply")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called for each map before its keys are made: they become texts, and merge keys are not followed."""
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value == "<<":
                    raise yaml.YAMLError("merge keys are not read")
                key.tag = f"{_TAG}str"


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = _BASES.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=[inIN])", "", loader.construct_scalar(node)))


for _name, _pattern in _CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)
