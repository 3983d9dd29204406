from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.diacritics import is_plain, restore

TEXTS = ["Žalba se podnosi građanskom sudu. Rok za žalbu je 15 dana.", "Žalba ne odgađa ovrhu. Sud čuva spis."]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Koji je rok za zalbu?", "Koji je rok za žalbu?"),
        ("ZALBA gradanskom sudu", "ŽALBA građanskom sudu"),
        ("Sto se cuva i moze li se", "Što se čuva i može li se"),
        ("zalbenom", "žalbenom"),
        ("odgadati", "odgađati"),
        ("How long is a file kept?", "How long is a file kept?"),
        ("", ""),
    ],
)
def test_words_are_written_as_in_the_texts(typed: str, meant: str) -> None:
    assert restore(typed, TEXTS) == meant


def test_the_more_frequent_form_is_taken() -> None:
    assert restore("zaliti", ["zaliti zaliti žaliti", "Žaliti, žaliti se."]) == "žaliti"
    assert restore("zaliti", ["zaliti zaliti žaliti"]) == "zaliti"


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=3))
def test_nothing_but_letters_changes(question: str, texts: list[str]) -> None:
    restored = restore(question, texts)
    assert len(restored) == len(question)
    plain = str.maketrans("čćšžđČĆŠŽĐ", "ccszdCCSZD")
    assert restored.translate(plain) == question.translate(plain)


@pytest.mark.parametrize(("text", "plain"), [("Rok za zalbu", True), ("ROK ZA ŽALBU", False), ("", True)])
def test_plain_text_has_no_croatian_letter(text: str, plain: bool) -> None:
    assert is_plain(text) is plain
