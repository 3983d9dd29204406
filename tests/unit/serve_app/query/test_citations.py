from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.types import CitedSpan
from serve_app.query.citations import CitationScanner


def spans(answer: str, passages: int = 9) -> list[tuple[tuple[int, ...], str]]:
    return [(s.numbers, answer[s.start : s.end]) for s in CitationScanner(passages).feed(answer)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Rok je 15 dana. [1]", [((1,), "Rok je 15 dana.")]),
        ("Rok je 15 dana [1].", [((1,), "Rok je 15 dana")]),
        ("Prvo. Drugo [2].", [((2,), "Drugo")]),
        ("Prvo [1]. Drugo [2].", [((1,), "Prvo"), ((2,), "Drugo")]),
        ("Prvo. [1] Drugo. [2]", [((1,), "Prvo."), ((2,), "Drugo.")]),
        ("Oboje. [1][2]", [((1,), "Oboje."), ((2,), "Oboje.")]),
        ("Oboje [1, 2].", [((1, 2), "Oboje")]),
        ("Uvod:\n- Stavka [3]", [((3,), "- Stavka")]),
        ("Nema takvog [7]. Ima [1].", [((1,), "Ima")]),
        ("Polje a[0] i [x].", []),
    ],
)
def test_a_marker_cites_the_sentence_before_it(answer: str, expected: list[tuple[tuple[int, ...], str]]) -> None:
    assert spans(answer, passages=3) == expected


@given(st.text(alphabet="ab .[]12,\n", max_size=60), st.data())
def test_pieces_make_no_difference(answer: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(answer)))
    whole = CitationScanner(9).feed(answer)
    scanner = CitationScanner(9)
    found: list[CitedSpan] = [*scanner.feed(answer[:cut]), *scanner.feed(answer[cut:])]
    assert found == list(whole)
    assert all(0 <= s.start <= s.end <= len(answer) for s in found)
