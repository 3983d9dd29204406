from __future__ import annotations

from collections.abc import Callable

import pytest

from rag.evaluation.asking import Source
from rag.evaluation.gold import Gold, Located, rank_labels


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("act-1", Gold("act-1")),
        ("act-1#art20", Gold("act-1", "20")),
        ("act-1#art20a", Gold("act-1", "20a")),
        ("act#1#art2", Gold("act#1", "2")),
        ("act-1#annex", Gold("act-1#annex")),
        ("#art20", Gold("#art20")),
    ],
)
def test_a_gold_id_is_a_document_or_an_article(text: str, gold: Gold) -> None:
    assert Gold.parse(text) == gold
    assert str(gold) == text


def test_a_gold_id_is_composed_as_the_service_s_ids_are() -> None:
    assert Gold.parse("c\u030citaj#art2") == Gold("čitaj", "2")


@pytest.mark.parametrize(
    ("headings", "article"),
    [
        (("Zakon", "Članak 20."), "20"),
        (("Zakon", "ČLANAK 20. Rok za odlučivanje"), "20"),
        (("Zakon", "Članak 20.a"), "20a"),
        (("Zakon", "Članak 20a."), "20a"),
        (("Zakon", "Čl. 5. i 6."), "5"),
        (("Act", "Article 7 Deadlines"), "7"),
        (("Članak 20.", "Iznimke"), "20"),
        (("Članak 2.", "Članak 3."), "3"),
        (("Zakon", "Rok iz članka 20."), None),
        (("Zakon", "20."), None),
        ((), None),
    ],
)
def test_the_innermost_heading_of_an_article_names_it(headings: tuple[str, ...], article: str | None) -> None:
    assert Located("d", headings).article == article


@pytest.mark.parametrize("document_id", ["act-1", "act-1.md", "laws/act-1.pdf", "a/b/act-1"])
def test_a_documents_folder_and_suffix_do_not_matter(document_id: str) -> None:
    assert Located(document_id).is_of(Gold("act-1"))
    assert not Located(document_id).is_of(Gold("act"))
    assert not Located(document_id).is_of(Gold("act-1", "20"))


def test_a_folder_may_be_part_of_a_gold_id() -> None:
    assert Located("x/act.md").is_of(Gold("x/act"))
    assert not Located("y/act.md").is_of(Gold("x/act"))


def test_passages_of_one_article_count_once(source: Callable[..., Source]) -> None:
    found = [source("a.md", "1"), source("a.md", "1"), source("b.md", "1"), source("a.md", "2"), source("a.md", "1")]
    labels = rank_labels([one.at for one in found], [Gold("a", "2")])
    assert labels == ["a.md#1", "b.md#1", "a#art2"]


def test_where_gold_is_documents_articles_are_one(source: Callable[..., Source]) -> None:
    found = [source("b.md", "1"), source("b.md", "2"), source("a.md", "9")]
    assert rank_labels([one.at for one in found], [Gold("a")]) == ["b.md", "a"]


def test_an_article_that_is_gold_itself_is_not_its_document(source: Callable[..., Source]) -> None:
    found = [source("a.md", "2"), source("a.md", "3")]
    assert rank_labels([one.at for one in found], [Gold("a"), Gold("a", "2")]) == ["a#art2", "a"]
