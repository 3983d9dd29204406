from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.query.statements import MAX_CHARACTERS, Statement, StatementReader


def read(*pieces: str, passages: int = 9) -> list[Statement]:
    reader = StatementReader(passages, "hr")
    return [*(statement for piece in pieces for statement in reader.feed(piece)), *reader.end()]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Rok je 15 dana. [1]", [((1,), "Rok je 15 dana.")]),
        ("Rok je 15 dana [1].", [((1,), "Rok je 15 dana")]),
        ("Prvo. Drugo [2].", [((), "Prvo."), ((2,), "Drugo")]),
        ("Prvo [1]. Drugo [2].", [((1,), "Prvo"), ((2,), "Drugo")]),
        ("Prvo. [1] Drugo. [2]", [((1,), "Prvo."), ((2,), "Drugo.")]),
        ("Oboje. [1][2]", [((1, 2), "Oboje.")]),
        ("Oboje [1, 2].", [((1, 2), "Oboje")]),
        ("Uvod:\n- Stavka [3]", [((), "Uvod:"), ((3,), "- Stavka")]),
        ("Nema takvog [7]. Ima [1].", [((), "Nema takvog"), ((1,), "Ima")]),
        ("Polje a[0] i [x].", [((), "Polje a[0] i [x].")]),
        ("Rok je 15 dana [1], a kazna 100 eura [2].", [((1,), "Rok je 15 dana"), ((2,), "a kazna 100 eura")]),
        ("Rok je 15 dana [1] od dostave. Kraj.", [((1,), "Rok je 15 dana [1] od dostave."), ((), "Kraj.")]),
        ("Prema čl. 5. Zakona do 15 [1]. Potom [2]", [((1,), "Prema čl. 5. Zakona do 15"), ((2,), "Potom")]),
        (" [1] \n", []),
    ],
)
def test_a_statement_is_a_sentence_or_its_part_up_to_a_marker(
    answer: str, expected: list[tuple[tuple[int, ...], str]]
) -> None:
    assert [(s.numbers, answer[s.start : s.end]) for s in read(answer, passages=3)] == expected


def test_each_marker_is_a_citation_of_the_same_statement() -> None:
    [statement] = read("Oboje. [1][2, 3]")
    assert statement.citations == ((1,), (2, 3))
    assert statement.text == "Oboje."


@given(st.text(alphabet="abČ .[]12,!\n", max_size=60), st.data())
def test_pieces_make_no_difference(answer: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(answer)))
    whole = read(answer)
    assert read(answer[:cut], answer[cut:]) == whole
    assert all(0 <= s.start <= s.end <= len(answer) for s in whole)
    assert all(s.end <= t.start for s, t in pairwise(whole))


@pytest.mark.parametrize("piece", ["riječ ", "riječi", "......", "\n", ". . ", "[1, 2", "[[[[["])
def test_text_without_an_end_is_cut_and_costs_the_same_for_each_piece(piece: str) -> None:
    reader = StatementReader(1, "hr")
    began = time.process_time()
    found = [statement for _ in range(5_000) for statement in reader.feed(piece)]
    found += reader.end()
    assert time.process_time() - began < 10
    assert max((len(statement.text) for statement in found), default=0) <= MAX_CHARACTERS + len(piece)
    if piece.startswith("riječ"):
        assert len(found) >= 5_000 * len(piece) / (MAX_CHARACTERS + 6) - 1
