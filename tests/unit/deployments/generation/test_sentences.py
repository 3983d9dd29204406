from __future__ import annotations

import random

import pytest

from deployments.generation.sentences import plain, split_sentences
from deployments.types import Language


def texts(text: str, language: Language = "hr") -> list[str]:
    return [sentence.text for sentence in split_sentences(text, language)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Rok je 15. dana od dostave, a zahtjev se podnosi do 27. travnja 2016. godine.",
        "Uredba (EU) 2016/679 od 27. travnja 2016. o zaštiti pojedinaca (SL L 119, 4. 5. 2016.) vrijedi izravno.",
        "Iznimno od čl. 5. st. 2. Zakona, podatke iz članka 14. Uredbe (NN br. 12/18) čuva Primjer d.o.o. iz Zagreba.",
        "To su tzv. Osjetljivi podaci, npr. Podaci o zdravlju, tj. Nalazi.",
        "Odredbe članaka 3., 4. i 5. Zakona o radu ne vrijede.",
        "Predsjednik je dr. sc. Ivan Horvat, a zamjenik J. Marić.",
        "Iznos je 1.250,50 eura, odnosno 3.5 posto.",
        "Pitao je: „Zašto?“ i otišao.",
        "U 21. Stoljeću to nije dopušteno.",
        "Glava IV. Ustava uređuje vlast.",
    ],
)
def test_one_croatian_sentence(sentence: str) -> None:
    assert texts(sentence) == [sentence]


@pytest.mark.parametrize(
    "sentence",
    [
        "See Sec. 5 and Fig. 2, i.e. The second one, e.g. Dr. Smith's copy.",
        "Version 3.5 of example.com was released at 5 p.m. on Monday.",
        "J. R. Smith of Acme Inc. signed it.",
        "He asked “Why?” and left.",
    ],
)
def test_one_english_sentence(sentence: str) -> None:
    assert texts(sentence, "en") == [sentence]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Prva. Druga! Treća? Četvrta…", "hr", ["Prva.", "Druga!", "Treća?", "Četvrta…"]),
        ("Čuva se 30 dana. 5 dana prije toga šalje se obavijest.", "hr", None),
        ("Zakon je donesen 2016. Ovaj Zakon stupa na snagu odmah.", "hr", None),
        ("Sklopio ga je Primjer d.o.o. Ugovor traje godinu dana.", "hr", None),
        ("Čuvaju se računi, ugovori itd. Ostalo se briše.", "hr", None),
        ("Rekao je „ne.“ Zatim je otišao.", "hr", None),
        ("Članak je dug. „Kratak je“, kaže on.", "hr", None),
        ("The law is from 2016. This Act applies.", "en", None),
        ("You may keep 30. The rest is deleted.", "en", None),
        ("It ends at 5 p.m. Then we go home.", "en", None),
    ],
)
def test_several_sentences(text: str, language: Language, expected: list[str] | None) -> None:
    found = texts(text, language)
    assert len(found) == (2 if expected is None else len(expected))
    assert " ".join(found) == text
    if expected is not None:
        assert found == expected


def test_paragraphs_of_a_statute_and_the_next_heading_left_at_the_end() -> None:
    text = (
        "(1) Žalba se podnosi u roku od 15 dana. (2) O žalbi iz stavka 1. ovoga članka odlučuje Povjerenik. "
        "(3) Protiv rješenja može se pokrenuti upravni spor. Rokovi čuvanja podataka"
    )
    assert texts(text) == [
        "(1) Žalba se podnosi u roku od 15 dana.",
        "(2) O žalbi iz stavka 1. ovoga članka odlučuje Povjerenik.",
        "(3) Protiv rješenja može se pokrenuti upravni spor.",
    ]


def test_text_without_a_full_stop_is_kept() -> None:
    assert texts("Ured je u Zagrebu") == ["Ured je u Zagrebu"]
    assert texts("Rok je kratak. Traje 30 dana") == ["Rok je kratak.", "Traje 30 dana"]


def test_markdown() -> None:
    text = (
        "# Čuvanje\n\n"
        "Dokumenti se **čuvaju** *trideset*\ndana, vidi [upute](https://example.com/a) i `rag status`.[3]\n"
        "> Citat je rečenica.\n\n"
        "## Iznimke ##\n"
        "- Računi se čuvaju __11 godina__\n"
        "* snake_case_ime ostaje\n\n"
        "1. Prvi korak\n"
        "2. Drugi korak\n   ima nastavak\n\n"
        "| Vrsta | Rok |\n| --- | :-: |\n| Ugovor | 5 godina |\n\n"
        "---\n```\n"
    )
    found = split_sentences(text, "hr")
    assert [(sentence.heading, sentence.text) for sentence in found] == [
        ("Čuvanje", "Dokumenti se čuvaju trideset dana, vidi upute i rag status."),
        ("Čuvanje", "Citat je rečenica."),
        ("Iznimke", "Računi se čuvaju 11 godina"),
        ("Iznimke", "snake_case_ime ostaje"),
        ("Iznimke", "1. Prvi korak"),
        ("Iznimke", "2. Drugi korak ima nastavak"),
        ("Iznimke", "Vrsta | Rok"),
        ("Iznimke", "Ugovor | 5 godina"),
    ]


def test_code_is_no_sentence() -> None:
    text = (
        "Pokreni ovo:\n\n    rag ask 1\n    rag ask 2\n\n"
        "```bash\nrag ask 3\n\nrag ask 4\n```\nZatim čekaj.\n\n    - Stavka\n\n~~~\nOstaje."
    )
    assert texts(text) == ["Pokreni ovo:", "Zatim čekaj.", "Stavka", "Ostaje."]


def test_text_that_is_indented_as_a_whole_is_no_code() -> None:
    assert texts("    Prva rečenica.\n\n    Druga rečenica.\n") == ["Prva rečenica.", "Druga rečenica."]
    assert texts("Uvod.\n\n    Uvučen prvi redak\nide dalje.") == ["Uvod.", "Uvučen prvi redak ide dalje."]


def test_a_wrapped_line_that_starts_with_an_ordinal_is_no_list_item() -> None:
    assert texts("Rok istječe\n15. dana od dostave.") == ["Rok istječe 15. dana od dostave."]


@pytest.mark.parametrize(
    "text", ["a[1]", "a [1, 2]", "a[^3]", "a[1](http://x)", "a[1[2]]", "a[*1*]", "a[`1`]", "a[ 1 ]"]
)
def test_references_of_other_texts_never_stay(text: str) -> None:
    assert plain(text) == "a"


@pytest.mark.parametrize("seed", range(50))
def test_no_word_is_lost_or_made_up(seed: int) -> None:
    chance = random.Random(seed)
    words = ["Zakon", "čl", "st", "15", "2016", "rok", "je", "(1)", "d.o.o", "npr", "Žalba", "„Da“", "IV", "ima", "30"]
    stops = ["", "", "", ".", ".", "!", "?", ",", "…"]
    text = " ".join(chance.choice(words) + chance.choice(stops) for _ in range(60)) + " kraj."
    for language in ("hr", "en"):
        assert " ".join(texts(text, language)) == text


def test_a_sign_of_comparison_stays_and_a_mark_of_quotation_goes() -> None:
    assert texts("Tlak u kotlu mora biti > 3 bara.") == ["Tlak u kotlu mora biti > 3 bara."]
    assert texts("Klasa 341 > 12 vrijedi; 5>3 i a -> b.") == ["Klasa 341 > 12 vrijedi; 5>3 i a -> b."]
    assert texts("> Navod je ovo.\n> > Vrijednost je > 7.") == ["Navod je ovo.", "Vrijednost je > 7."]


@pytest.mark.parametrize(
    "text", ["> 3 bara je dopušteni tlak.", "Naknada\n> 5 kg: 10 eura\n> 10 kg: 20 eura.", "- > 5 kg: 10 eura"]
)
def test_more_than_a_number_stays_at_the_beginning_of_a_line(text: str) -> None:
    assert texts(text) == [" ".join(text.removeprefix("- ").split())]


def test_a_quotation_that_has_numbers_at_the_beginning_of_some_lines_loses_all_its_marks() -> None:
    assert texts("> Žalba se podnosi u roku od\n> 15 dana od dostave.") == [
        "Žalba se podnosi u roku od 15 dana od dostave."
    ]


@pytest.mark.parametrize("text", [r"Cijena je 5\* ili 6\*.", r"Polje \*obvezno\* i \_drugo\_ polje."])
def test_signs_that_markdown_does_not_read_stay(text: str) -> None:
    assert texts(text) == [text]
