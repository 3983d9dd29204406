from __future__ import annotations

import pytest

from deployments.generation.references import (
    articles,
    ends_in_reference,
    is_article_heading,
    paragraphs,
    paragraphs_needed,
    without_articles,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Što piše u članku 13?", {"13"}),
        ("Što kaže čl. 13?", {"13"}),
        ("Što kaže članak 13.?", {"13"}),
        ("sto kaze clanak 13", {"13"}),
        ("sto pise u cl.13", {"13"}),
        ("Što propisuje 13. članak?", {"13"}),
        ("Što je u čl. 14.a Zakona?", {"14a"}),
        ("What does Article 5 say, and Art. 6?", {"5", "6"}),
        ("What is in § 7?", {"7"}),
        ("What does clause 9 say, and section 4?", {"9", "4"}),
        ("What do clauses 5 and 6 say?", {"5", "6"}),
        ("Što je u članku broj 13?", {"13"}),
        ("Što je u čl. br. 13?", {"13"}),
        ("What is in article no. 13?", {"13"}),
        ("Što kažu članci 12. i 13.?", {"12", "13"}),
        ("Što je u čl. 12, 13.a i 14?", {"12", "13a", "14"}),
        ("What do articles 5, 6 and 7 say?", {"5", "6", "7"}),
        ("Vrijedi li članak 13. i 30 dana nakon dostave?", {"13"}),
        ("Koliko je 13 članova u odboru?", set()),
        ("Koji je rok?", set()),
    ],
)
def test_articles_by_whatever_name(text: str, numbers: set[str]) -> None:
    assert articles(text) == numbers


def test_paragraphs_and_what_is_left() -> None:
    question = "Koja je kazna iz čl. 12. st. 3. Zakona o radu?"
    assert paragraphs(question) == {"3"}
    assert "12" not in without_articles(question)
    assert {"kazna", "radu?"} <= set(without_articles(question).split())


@pytest.mark.parametrize(
    ("heading", "is_article"),
    [
        ("Članak 13.", True),
        ("ČLANAK 13.a", True),
        ("Article 5 – Scope", True),
        ("§ 7", True),
        ("Clause 9 – Notice", True),
        ("Rokovi", False),
        ("Iz članka 13.", False),
    ],
)
def test_headings_of_articles(heading: str, is_article: bool) -> None:
    assert is_article_heading(heading) is is_article


@pytest.mark.parametrize(
    ("text", "ends"),
    [("iz stavka", True), ("prema čl.", True), ("stavka 1. i", True), ("koji su to zatražili", False), ("", False)],
)
def test_where_a_number_belongs_to_a_reference(text: str, ends: bool) -> None:
    assert ends_in_reference(text) is ends


@pytest.mark.parametrize(
    ("sentence", "numbers"),
    [
        ("Kazneno djelo iz stavka 1. i 2. ovoga članka progoni se po prijedlogu.", {"1", "2"}),
        ("Odredbe stavaka 1., 2. i 3. ovog članka vrijede.", {"1", "2", "3"}),
        ("Iz članka 15. stavka 2. ovog Zakona.", set()),
    ],
)
def test_paragraphs_that_a_sentence_refers_to(sentence: str, numbers: set[str]) -> None:
    assert paragraphs_needed(sentence) == numbers
