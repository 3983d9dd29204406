from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.generation.config import GenerationConfig
from deployments.generation.extractive import NO_ANSWER, ExtractiveEngine
from deployments.generation.fake import FakeEngine
from deployments.generation.stop_sequences import StopScanner
from deployments.types import GenerationRequest, Passage, TextDelta, Usage

MakeRequest = Callable[..., GenerationRequest]
MakePassage = Callable[..., Passage]


def said(pieces: list[str], *sequences: str) -> tuple[str, bool]:
    scanner = StopScanner(sequences)
    text = "".join(scanner.feed(piece) for piece in pieces)
    return text + scanner.rest(), scanner.met


@pytest.mark.parametrize(
    ("pieces", "sequences", "shown", "met"),
    [
        (["a", "b", "c"], (), "abc", False),
        (["ab", "cd", "ef"], ("cd",), "ab", True),
        (["ab", "c", "d", "ef"], ("cd",), "ab", True),
        (["ab", "c"], ("cd",), "abc", False),
        (["abab", "ac"], ("abac",), "ab", True),
        (["one two three"], ("three", "two"), "one ", True),
        (["x"], ("x",), "", True),
        (["čćš", "ž"], ("šž",), "čć", True),
    ],
)
def test_an_answer_ends_before_the_first_sequence(
    pieces: list[str], sequences: tuple[str, ...], shown: str, met: bool
) -> None:
    assert said(pieces, *sequences) == (shown, met)


def test_only_what_may_begin_a_sequence_is_held_back() -> None:
    scanner = StopScanner(["###"])
    assert scanner.feed("text #") == "text "
    assert scanner.feed("#") == ""
    assert scanner.feed(" more") == "## more"
    assert scanner.feed("###") == ""
    assert scanner.feed("after") == ""
    assert (scanner.met, scanner.rest()) == (True, "")


@given(
    text=st.text("ab", max_size=12),
    sequence=st.text("ab", min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 12), max_size=6),
)
def test_how_an_answer_is_cut_into_pieces_makes_no_difference(text: str, sequence: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert said(pieces, sequence) == (text.partition(sequence)[0], sequence in text)


async def collected(deltas: object) -> tuple[str, TextDelta]:
    found = [delta async for delta in deltas]  # type: ignore[attr-defined]
    return "".join(delta.text for delta in found), found[-1]


async def test_the_fake_engine_stops(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    text, last = await collected(engine.generate(request_for("a b c d", stop=("c d", "b c"))))
    assert (text, last) == ("a ", TextDelta("", "stop", Usage(3, 3)))
    text, last = await collected(engine.generate(request_for("a b", stop=("b c",))))
    assert (text, last.finish_reason) == ("a b", "stop")
    text, last = await collected(engine.generate(request_for("a b c", stop=("b c",), max_tokens=2)))
    assert (text, last.finish_reason) == ("a b", "length")


async def test_the_extractive_engine_stops(request_for: MakeRequest, passage: MakePassage) -> None:
    engine = ExtractiveEngine(GenerationConfig(engine="extractive"))
    found = passage("Rok za žalbu je petnaest dana od dostave.")
    text, last = await collected(engine.generate(request_for("Koji je rok za žalbu?", passages=(found,))))
    assert text.endswith("dostave. [1]")
    for sequence, shown in (
        (" od", "Rok za žalbu je petnaest dana"),
        ("[1]", "Rok za žalbu je petnaest dana od dostave. "),
    ):
        request = request_for("Koji je rok za žalbu?", passages=(found,), stop=(sequence,))
        assert ((await collected(engine.generate(request)))[0]) == shown
    request = request_for("Koji je rok za žalbu?", passages=(found,), stop=("[1]!",))
    assert (await collected(engine.generate(request)))[0] == text
    text, last = await collected(engine.generate(request_for("Koji?", stop=("odgovora",))))
    assert (text, last.finish_reason) == (NO_ANSWER["hr"].partition("odgovora")[0], "stop")
