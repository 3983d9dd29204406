from __future__ import annotations

from deployments.ingestion.parsers.pages import page_offsets
from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean


def test_pages_are_found_again_after_clean_up_and_marking() -> None:
    pieces = [(1, "Uvod u zakon."), (2, "Članak 1."), (2, "(1) Rok je 15"), (4, "dana."), (5, "**Članak 2.**")]
    text = clean(mark_headings("Uvod u zakon.\n\nČlanak 1.\n\n(1) Rok je 15 dana.\n\n**Članak 2.**"))
    starts = {page: text[offset:].lstrip(" .\n") for offset, page in page_offsets(pieces, text)}
    assert {page: rest.partition("\n")[0] for page, rest in starts.items()} == {
        1: "Uvod u zakon.",
        2: "## Članak 1.",
        4: "dana.",
        5: "## Članak 2.",
    }


def test_a_page_may_begin_inside_a_word() -> None:
    assert page_offsets([(1, "nadlež"), (2, "nost")], "nadležnost") == ((0, 1), (6, 2))


def test_pages_without_letters_are_left_out() -> None:
    assert page_offsets([(1, "—"), (2, "a"), (3, ""), (4, "b"), (5, "*")], "— a b *") == ((0, 2), (3, 4))
    assert page_offsets([], "a") == ()
