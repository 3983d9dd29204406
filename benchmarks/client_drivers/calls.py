"""A driver's calls: each is made once and told in a line of JSON. It needs Python alone, in whatever environment.

A driver is started with where the service is in its environment. Its last call hangs up where the client can, and then
it waits for its input to end, so that the engine can be looked at while the client is still there.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ["RAG_URL"]
V1 = f"{URL}/v1"
KEY = os.environ["RAG_KEY"]
RAG = "rag"
RAW = os.environ["RAG_RAW_MODEL"]
EMBEDDER = os.environ["RAG_EMBEDDER"]
RERANKER = os.environ["RAG_RERANKER"]
QUESTION = "U kojem roku se podnosi žalba?"
MONTH = {
    "type": "object",
    "properties": {"mjesec": {"type": "string", "enum": ["siječanj", "veljača"]}},
    "required": ["mjesec"],
    "additionalProperties": False,
}
"""A schema that even a model whose words are noise comes to the end of."""
MONTHS = ("siječanj", "veljača")
DOCUMENTS = ["Pristojba se plaća u biljezima.", "Žalba se podnosi u roku od 15 dana.", "Ured je otvoren srijedom."]
LONG = 4_000
"""Tokens of an answer that goes on for seconds."""


_loop = asyncio.Runner()
"""Of all calls: clients keep connections, which belong to a loop."""


def call(name: str) -> Callable[[Callable[[], Any]], None]:
    """Makes the call that is decorated, and says how it went."""

    def make(function: Callable[[], Any]) -> None:
        told: dict[str, Any] = {"call": name}
        try:
            made = function()
            if inspect.iscoroutine(made):
                _loop.run(made)
        except BaseException:
            told["error"] = traceback.format_exc()
        print("\n" + json.dumps(told), flush=True)

    return make


def raises(kind: type[BaseException], function: Callable[[], Any], *words: str) -> Any:
    """The error, which is of this kind and has these words."""
    try:
        function()
    except kind as raised:
        error = raised
    else:
        raise AssertionError(f"no {kind.__name__} was raised")
    assert all(word in str(error) for word in words), f"{words} are not in: {error}"
    return error


def wait_to_be_let_go() -> None:
    print("\n" + json.dumps({"done": True}), flush=True)
    sys.stdin.read()
