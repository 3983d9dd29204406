"""Office documents whose text is known are read whole, of each format."""

from __future__ import annotations

import pytest

from benchmarks.office import documents
from benchmarks.office.measure import compared, figures
from benchmarks.office.seen import Document
from benchmarks.parsing import text_of

DOCUMENTS = [*documents()]
WORDS_FOUND = 0.995
WORDS_SEEN = 0.7
"""E-mails have the lowest share: the text names their headers and repeats the names of their files."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_a_person_sees_is_in_the_text_and_little_else(document: Document) -> None:
    words = compared(document, text_of(document.data, document.filename))
    assert words.recall >= WORDS_FOUND
    assert words.precision >= WORDS_SEEN


def test_there_are_documents_of_each_format() -> None:
    assert {document.kind for document in DOCUMENTS} == {"docx", "xlsx", "pptx", "eml", "html", "epub"}
    assert len({document.name for document in DOCUMENTS}) == len(DOCUMENTS) >= 30


def test_figures_are_of_all_documents_and_by_format() -> None:
    documents = [Document("a", "a.docx", b"", "žaba rak"), Document("b", "b.html", b"", "žaba")]
    found = figures(documents, lambda data, filename: "žaba nema")
    assert found == {
        "office_files": 2,
        "office_word_recall": 0.6667,
        "office_word_precision": 0.5,
        "office_by_format": {
            "docx": {"files": 1, "recall": 0.5, "precision": 0.5},
            "html": {"files": 1, "recall": 1.0, "precision": 0.5},
        },
    }


def test_words_are_counted_as_often_as_they_are_seen() -> None:
    words = compared(Document("a", "a.docx", b"", "žaba, žaba i rak"), "žaba rak! žaba? žaba")
    assert (words.seen, words.found, words.both) == (4, 4, 3)
    assert (words.recall, words.precision) == (0.75, 0.75)
