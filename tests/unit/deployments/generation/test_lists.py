from __future__ import annotations

import pytest

from deployments.generation.lists import split_list


def parts(sentence: str) -> list[tuple[tuple[str, ...], str]]:
    return [(part.openings, part.text) for part in split_list(sentence)]


@pytest.mark.parametrize(
    ("opening", "items"),
    [
        ("Kaznit će se ako:", ["– ne izradi plan,", "– ne odredi osobu."]),
        ("Prilozi su:", ["− Prilog 1. Popis", "− Prilog 2. Mjerila"]),
        ("Opoziva ga:", ["1. kad to zatraži", "2. nakon smrti"]),
        ("Rok se produžuje:", ["1) za upit,", "2) za test."]),
        ("Tajna je ono što:", ["a) nije poznato", "b) vrijedi", "č) se čuva"]),
    ],
)
def test_items_have_the_line_that_opens_their_list(opening: str, items: list[str]) -> None:
    assert parts(" ".join([opening, *items])) == [((opening,), item) for item in items]


def test_a_list_in_an_item_has_both_opening_lines() -> None:
    assert parts("Pojmovi su: 1. sud 2. tajna je ono što: a) vrijedi b) se čuva 3. roba") == [
        (("Pojmovi su:",), "1. sud"),
        (("Pojmovi su:", "2. tajna je ono što:"), "a) vrijedi"),
        (("Pojmovi su:", "2. tajna je ono što:"), "b) se čuva"),
        (("Pojmovi su:",), "3. roba"),
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "Rok je 15 dana.",
        "Sud odlučuje: o žalbi i o troškovima.",
        "Vrijedi iznimka: 1. siječnja počinje rok.",
        "Primjer – ovaj – nije popis.",
        "Vidi: – sve ostalo vrijedi.",
    ],
)
def test_a_sentence_without_a_list_stays_whole(sentence: str) -> None:
    assert parts(sentence) == [((), sentence)]


def test_the_number_of_a_reference_begins_no_item() -> None:
    sentence = "Kaznit će se tko: 1. ne postupi prema članku 2. stavku 2. ovoga Zakona, 2. ne vodi upisnik."
    assert [text for _, text in parts(sentence)] == [
        "1. ne postupi prema članku 2. stavku 2. ovoga Zakona,",
        "2. ne vodi upisnik.",
    ]


def test_no_word_is_lost() -> None:
    sentence = "Iznimno: 1. prvo: – a, – b, 2. drugo – treće: a) x b) y 3. kraj."
    found = split_list(sentence)
    words = [word for part in found for word in part.text.split()]
    openings = dict.fromkeys(opening for part in found for opening in part.openings)
    assert sorted([*words, *(word for opening in openings for word in opening.split())]) == sorted(sentence.split())
