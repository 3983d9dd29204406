from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.generation.quotation_writer import QuotationWriter
from deployments.generation.selection import Quotation
from deployments.types import TextDelta

ANSWER = [
    Quotation("Članak 22.", 2, "heading", starts_section=True),
    Quotation("(1) Rok se produžuje:", 2, "opening"),
    Quotation("2) za test.", 2),
    Quotation("Rok je 15 dana.", 1, starts_section=True),
]
TEXT = "Članak 22. (1) Rok se produžuje: 2) za test. [2]\nRok je 15 dana. [1]"


def written(writer: QuotationWriter) -> tuple[TextDelta, str]:
    """The whole answer as one delta, and how it ended."""
    whole = TextDelta("", citations=())
    for quotation in ANSWER:
        whole = whole.joined(writer.quote(quotation))
    rest, reason = writer.end("stop")
    return whole.joined(rest), reason


def cited(delta: TextDelta) -> list[tuple[int, str]]:
    return [(span.numbers[0], delta.text[span.start : span.end]) for span in delta.citations or ()]


def test_each_quotation_is_cited_where_it_stands() -> None:
    delta, reason = written(QuotationWriter(100, ()))
    assert (delta.text, reason) == (TEXT, "stop")
    assert cited(delta) == [(2, "(1) Rok se produžuje:"), (2, "2) za test."), (1, "Rok je 15 dana.")]


def test_offsets_count_what_was_written_before() -> None:
    writer = QuotationWriter(100, ())
    notice = writer.write("Nije sigurno:\n")
    delta = notice.joined(writer.quote(ANSWER[3]))
    assert delta.text == "Nije sigurno:\nRok je 15 dana. [1]"
    assert cited(delta) == [(1, "Rok je 15 dana.")]


@pytest.mark.parametrize(("words", "text"), [(9, TEXT.split("\n")[0]), (11, f"{TEXT.split(chr(10))[0]}\nRok je [1]")])
def test_ends_at_its_length(words: int, text: str) -> None:
    writer = QuotationWriter(words, ())
    delta, reason = written(writer)
    assert (delta.text, reason, writer.words) == (text, "length", words)
    assert all(quoted and quoted in text for _, quoted in cited(delta))


def test_the_markers_are_not_counted() -> None:
    writer = QuotationWriter(100, ())
    written(writer)
    assert writer.words == 13


@given(st.text(alphabet="Rok je15 dan.[]2\n", min_size=1, max_size=4))
def test_stops_at_a_sequence_and_cites_only_what_was_sent(stop: str) -> None:
    delta, reason = written(QuotationWriter(100, (stop,)))
    assert delta.text == TEXT.split(stop)[0]
    assert reason == "stop"
    assert all(span.end <= len(delta.text) for span in delta.citations or ())
