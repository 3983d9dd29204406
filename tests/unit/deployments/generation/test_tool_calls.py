from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from deployments.generation.tool_calls import CallReader, call_reader
from deployments.types import Tool, ToolCallDelta, Tools

NAMES = ("zapamti", "traži_2")


def reader(choice: Literal["required", "named"]) -> CallReader:
    return call_reader(Tools(tuple(Tool(name, "", "{}") for name in NAMES), choice, 16))


def read(calls: CallReader, pieces: Sequence[str]) -> list[tuple[str, str]]:
    """Name and arguments of each call; all parts of one have its index, and its first part alone has name and id."""
    found: list[list[str]] = []
    ids = set[str]()
    for piece in pieces:
        for part in calls.feed(piece):
            if part.name:
                assert part.index == len(found)
                assert part.id not in ids
                ids.add(part.id)
                found.append([part.name, ""])
            assert (part.id != "", part.index) == (part.name != "", len(found) - 1)
            assert part.arguments
            found[-1][1] += part.arguments
    return [(name, arguments) for name, arguments in found]


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(), VALUES, max_size=3)), min_size=1, max_size=4
)


@given(calls=CALLS, cuts=st.lists(st.integers(min_value=0)), indent=st.sampled_from([None, 1]), ascii=st.booleans())
def test_a_list_of_calls_is_read_however_it_comes(
    calls: list[tuple[str, dict[str, Any]]], cuts: list[int], indent: int | None, ascii: bool
) -> None:
    text = json.dumps(
        [{"name": name, "parameters": parameters} for name, parameters in calls], indent=indent, ensure_ascii=ascii
    )
    found = read(reader("required"), pieces_of(text, cuts))
    assert [(name, json.loads(arguments)) for name, arguments in found] == calls


@given(cuts=st.lists(st.integers(min_value=0)))
def test_the_arguments_of_a_named_function_are_all_text(cuts: list[int]) -> None:
    text = '{"mjesec": "siječanj", "name": "x"}'
    assert read(reader("named"), pieces_of(text, cuts)) == [("zapamti", text)]


def test_a_list_that_is_cut_has_what_was_written_of_its_last_call() -> None:
    text = '[{"name": "zapamti", "parameters": {"a": 1}}, {"name": "zapamti", "parameters": {"a'
    assert read(reader("required"), [text]) == [("zapamti", '{"a": 1}'), ("zapamti", '{"a')]
    assert read(reader("required"), ['[{"name": "zapamti", "para']) == []


def test_parts_of_one_call_that_come_together_are_one() -> None:
    [part] = reader("required").feed('[{"name": "zapamti", "parameters": {"a": 1}}')
    assert part == ToolCallDelta(0, part.id, "zapamti", '{"a": 1}')
