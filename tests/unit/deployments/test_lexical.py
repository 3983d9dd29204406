from __future__ import annotations

import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments import lexical
from deployments.lexical import (
    blend,
    detect_language,
    encode_passage,
    encode_query,
    known_language,
    query_term_ids,
    term_id,
    terms,
)
from deployments.types import Language

CROATIAN = st.text(alphabet="abcčćdđefghijklmnoprsštuvzž ", max_size=40)
TO_ASCII = str.maketrans({"č": "c", "ć": "c", "š": "s", "ž": "z", "đ": "d"})


@pytest.mark.parametrize(
    "forms",
    [
        "zakon zakona zakonu zakonom zakonima",
        "podataka podatak podatke",
        "dokumenti dokumente dokument",
        "čuvaju cuvaju",
        "žalba žalbe žalbu žalbi zalba zalbe",
        "osuđenik osuđenika osudjenik osudjenika osudenik",
        "građanin građani građanima gradjanin gradjani gradanin",
        "međunarodni medjunarodni medunarodni",
        "zahtjev zahtjeva zahtjevom",
        "ZAKON Zakon zakon",
    ],
)
def test_forms_of_a_croatian_word_meet(forms: str) -> None:
    assert len(set(terms(forms, "hr"))) == 1


@pytest.mark.parametrize("forms", ["retain retained retaining retains", "policy policies", "café cafe CAFÉ"])
def test_forms_of_an_english_word_meet(forms: str) -> None:
    assert len(set(terms(forms, "en"))) == 1


@pytest.mark.parametrize("words", [("zakon", "zakup"), ("rok", "rak"), ("sud", "sat")])
def test_different_words_stay_apart(words: tuple[str, str]) -> None:
    assert terms(words[0], "hr") != terms(words[1], "hr")


@given(CROATIAN)
def test_text_without_accents_meets_text_with_them(text: str) -> None:
    assert terms(text, "hr") == terms(text.translate(TO_ASCII), "hr")
    assert terms(text, "hr") == terms(text.replace("đ", "dj"), "hr")


@given(st.text(max_size=60), st.sampled_from(["hr", "en"]))
@example("0.1", "hr")
def test_any_text_has_plain_terms(text: str, language: Language) -> None:
    """Only a decimal keeps its point."""
    for term in terms(text, language):
        assert term == term.casefold()
        assert re.fullmatch(r"\d+\.\d+", term) or not any(letter in term for letter in "čćšžđ \n.,")


def test_composed_and_decomposed_text_meet() -> None:
    assert terms("z\u030calba", "hr") == terms("žalba", "hr") == terms("žal\u00adba", "hr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500.000,00", ["500000"]),
        ("500,000.00", ["500000"]),
        ("500 000", ["500", "0"]),
        ("1.234.567", ["1234567"]),
        ("3,50 3.5", ["3.5", "3.5"]),
        ("15.", ["15"]),
        ("(15)", ["15"]),
        ("25.05.2018.", ["25", "5", "2018"]),
        ("2016/679", ["2016", "679"]),
        ("192.168.1.10", ["192", "168", "1", "10"]),
        ("007 0", ["7", "0"]),
        ("ISO27001 bge-m3", ["iso27001", "bge", "m3"]),
        ("15%", ["15"]),
    ],
)
def test_numbers(text: str, expected: list[str]) -> None:
    assert terms(text, "hr") == expected


def test_stop_words_are_the_languages_own() -> None:
    assert terms("Koliko dugo se čuvaju dokumenti u sustavu", "hr") == terms("dugo čuvaju dokumenti sustavu", "hr")
    assert terms("Sto je to sto se cuva", "hr") == terms("cuva", "hr")
    assert terms("How long are the documents kept?", "en") == terms("long documents kept", "en")
    assert terms("the", "hr") != []


def test_a_terms_id_is_the_same_in_every_process() -> None:
    script = "from deployments.lexical import term_id; print(term_id('zakon'))"
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        assert int(found.stdout) == term_id("zakon") == 1193045202


@given(st.text(max_size=20))
def test_ids_fit_milvus_and_leave_one_free(term: str) -> None:
    assert lexical.NO_TERMS < term_id(term) <= 2**32 - 2


def test_passage_weights_are_bm25_saturation() -> None:
    weights = encode_passage("rok rok žalba", "hr")
    assert weights.pop(term_id("zalb*")) == weights[term_id(terms("žalba", "hr")[0])]
    length = lexical.K1 * (1 - lexical.B + lexical.B * 3 / lexical.REFERENCE_LENGTH)
    assert weights == {
        term_id("rok"): pytest.approx(2 * (lexical.K1 + 1) / (2 + length)),
        term_id(terms("žalba", "hr")[0]): pytest.approx((lexical.K1 + 1) / (1 + length)),
    }


def test_more_of_a_term_weighs_more_but_never_beyond_saturation() -> None:
    weights = [encode_passage("rok " * n, "hr")[term_id("rok")] for n in (1, 2, 10)]
    assert weights == sorted(weights)
    assert weights[-1] < lexical.K1 + 1
    longer = encode_passage("rok " + "žalba " * 500, "hr")[term_id("rok")]
    assert longer < weights[0]


def test_text_without_terms_has_an_empty_vector() -> None:
    assert encode_passage("i ili — …", "hr") == {}
    assert query_term_ids("?!", "hr") == ()


def test_a_question_is_looked_up_in_both_languages() -> None:
    ids = query_term_ids("Što znače documents i documents?", "hr")
    assert term_id(terms("documents", "en")[0]) in ids
    assert set(encode_passage("znače", "hr")) <= set(ids)
    assert len(ids) == len(set(ids))
    assert not set(ids) & {term_id("sto"), term_id("i")}


def test_question_weights_are_the_scopes_idf() -> None:
    weights = encode_query([5, 6, 7, 8], {5: 1, 6: 50, 7: 0}, 50)
    assert set(weights) == {5, 6}
    assert weights[5] == pytest.approx(math.log(1 + 49.5 / 1.5))
    assert 0 < weights[6] < weights[5]
    assert encode_query([5], {}, 10) == {}
    assert encode_query([], {5: 1}, 10) == {}


def test_a_frequency_ahead_of_the_count_keeps_weights_positive() -> None:
    assert encode_query([5], {5: 12}, 10)[5] > 0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Koliko dugo se čuvaju dokumenti?", "hr"),
        ("Koji je rok za zalbu?", "hr"),
        ("Žalba", "hr"),
        ("How long are documents kept?", "en"),
        ("What does članak 15 say about this?", "en"),
    ],
)
def test_language_is_detected(text: str, language: Language) -> None:
    other: Language = "en" if language == "hr" else "hr"
    assert detect_language(text, default=other) == language
    assert known_language(text) == language


@pytest.mark.parametrize("text", ["", "xyzzy 42", "???"])
def test_undecided_text_is_of_the_default_language(text: str) -> None:
    assert detect_language(text) == "hr"
    assert detect_language(text, default="en") == "en"
    assert known_language(text) is None


def test_threads_agree() -> None:
    texts = [f"zakonima podatke {n} građanima" for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: terms(text, "hr"), texts)) == [terms(text, "hr") for text in texts]


@pytest.mark.parametrize(
    ("one", "other"), [("izbrisati", "izbrisivanje"), ("osiguranje", "osigurateljica"), ("žalitelj", "zaliti")]
)
def test_words_of_one_beginning_share_a_term(one: str, other: str) -> None:
    assert terms(one, "hr") != terms(other, "hr")
    assert set(encode_passage(one, "hr")) & set(query_term_ids(other, "hr"))


def test_english_words_have_their_stems_only() -> None:
    assert set(encode_passage("insurance insurers", "en")) == set(map(term_id, terms("insurance insurers", "en")))


@pytest.mark.parametrize("word", ["rok", "dana", "2024", "a1b2c3"])
def test_short_words_and_numbers_are_one_term(word: str) -> None:
    assert len(encode_passage(word, "hr")) == 1


@pytest.mark.parametrize(
    "written",
    [
        "čl. 12. st. 3. t. a",
        "Članak 12., stavak 3., točka a)",
        "cl. 12 st. 3 toč. a",
        "iz članka 12. stavka 3. točke a",
    ],
)
def test_references_to_a_statute_are_the_same_however_they_are_written(written: str) -> None:
    assert encode_passage(written.removeprefix("iz "), "hr") == encode_passage("članak 12. stavak 3. točka a", "hr")
    references = {term_id("article 12"), term_id("paragraph 3"), term_id("point a")}
    assert references <= set(query_term_ids(written, "hr"))
    assert references <= set(encode_passage("Article 12, paragraph 3, point a", "en"))


@pytest.mark.parametrize("text", ["stavak", "t i a", "st je 5", "članak ovoga Zakona", "točka ab"])
def test_without_a_number_there_is_no_reference(text: str) -> None:
    assert not {
        term_id(f"{part} {number}") for part in ("article", "paragraph", "point") for number in ("5", "a")
    } & set(query_term_ids(text, "hr"))


def test_a_passage_of_a_section_has_the_terms_of_both() -> None:
    passage, section = {5: 1.0, 6: 2.0}, {6: 1.0, 7: 1.0}
    blended = blend(passage, section)
    share = lexical.SECTION_SHARE
    assert blended == {5: pytest.approx(1 - share), 6: pytest.approx(2 - share), 7: pytest.approx(share)}


@pytest.mark.parametrize("language", ["hr", "en"])
@pytest.mark.parametrize("question", ["What does article 12 say?", "Što kaže čl. 12?", "Što je u članku 12?"])
def test_a_question_names_parts_of_a_statute_in_either_language(question: str, language: Language) -> None:
    assert term_id("article 12") in query_term_ids(question, language)
