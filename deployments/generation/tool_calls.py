"""Functions as chat templates know them, and the calls in an answer that is held to a JSON schema.

By `required` the answer is a list of objects, each a function's name and its parameters, in this order. By `named` it
is the parameters.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

from deployments.types import ToolCallDelta, Tools

_BEGINNING = re.compile(r'\{"name":("(?:[^"\\]|\\.)*"),"parameters":(?=.)')
"""Of an object, up to its parameters; without the white space between."""
_MOVES_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
_LIST, _OBJECT = 1, 2
"""How deep it is in the list of calls, and in a call's object."""


class CallReader(Protocol):
    def feed(self, text: str) -> list[ToolCallDelta]:
        """Add text. Returns what it adds to the calls."""
        ...


def call_reader(tools: Tools) -> CallReader:
    """For an answer that must call, and so is held to the schema."""
    return NamedCall(tools.functions[0].name) if tools.choice == "named" else ListedCalls()


def new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def as_template_has_them(tools: Tools) -> list[dict[str, Any]]:
    """The functions as chat templates know them."""
    return [
        {
            "type": "function",
            "function": {
                "name": function.name,
                "description": function.description,
                "parameters": json.loads(function.parameters),
            },
        }
        for function in tools.functions
    ]


class NamedCall:
    """All text is the arguments of one call."""

    def __init__(self, name: str) -> None:
        self._name = name

    def feed(self, text: str) -> list[ToolCallDelta]:
        if not text:
            return []
        name, self._name = self._name, ""
        return [ToolCallDelta(0, new_call_id() if name else "", name, text)]


class ListedCalls:
    """Arguments are told as they come, once the call's name is there. An object that does not begin as expected is no
    call."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = self._escaped = False
        self._beginning = ""
        """Of the object that is read, until its parameters begin."""
        self._name: str | None = None
        """Of the call whose parameters are read."""
        self._count = 0

    def feed(self, text: str) -> list[ToolCallDelta]:
        return [*self._joined(self._parts(text))]

    def _joined(self, parts: Iterator[ToolCallDelta]) -> Iterator[ToolCallDelta]:
        """Parts of the same call as one."""
        last: ToolCallDelta | None = None
        for part in parts:
            if last is not None and last.index == part.index:
                last = ToolCallDelta(last.index, last.id, last.name, last.arguments + part.arguments)
                continue
            if last is not None:
                yield last
            last = part
        if last is not None:
            yield last

    def _parts(self, text: str) -> Iterator[ToolCallDelta]:
        for character in text:
            was_inside = self._depth >= _OBJECT
            self._move(character)
            if not was_inside and self._depth < _OBJECT:
                continue  # between calls
            if self._depth < _OBJECT:  # the object's end
                self._beginning, self._name = "", None
            elif self._name is not None:
                yield ToolCallDelta(self._count - 1, "", "", character)
            elif self._in_text or not character.isspace():
                self._beginning += character
                if begun := _BEGINNING.match(self._beginning):
                    self._name = json.loads(begun[1])
                    self._count += 1
                    yield ToolCallDelta(self._count - 1, new_call_id(), self._name or "", character)

    def _move(self, character: str) -> None:
        if self._in_text:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_text = False
        elif character == '"':
            self._in_text = True
        else:
            self._depth += _MOVES_DEPTH.get(character, 0)
