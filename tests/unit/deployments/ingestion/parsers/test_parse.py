from __future__ import annotations

import pytest

from deployments.errors import BrokenDocument
from deployments.ingestion.parsers import parse
from deployments.ingestion.parsers.limits import Limits


@pytest.mark.parametrize("text", ["☺😀", "😀 !!! 👍🏽", "👨\u200d👩\u200d👧", "🇭🇷", "☑ ☐", "|♥|\n|---|"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_a_text_of_emoji_is_refused_for_what_it_is(limits: Limits, text: str, name: str) -> None:
    with pytest.raises(BrokenDocument, match="only signs, such as emoji"):
        parse(text.encode(), name, "", limits)


@pytest.mark.parametrize("text", [" \n", "---"])
def test_a_document_without_text_is_pointed_to_ocr(limits: Limits, text: str) -> None:
    with pytest.raises(BrokenDocument, match="OCR"):
        parse(text.encode(), "a.txt", "", limits)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("a.txt", "po kori\xad\nsniku us\xadluge, prelo-\nmljeno"),
        ("a.md", "po kori\xad\r\n  sniku us\xadluge, prelo-\r\nmljeno"),
        ("a.html", "<p>po kori&shy;\nsniku us&shy;luge, prelomljeno</p>"),
        ("a.csv", "po kori\xadsniku us\xadluge, prelomljeno"),
        (
            "a.eml",
            "Subject: a\nContent-Type: text/plain; charset=utf-8\n\npo kori\xad\nsniku us\xadluge, prelo-\nmljeno",
        ),
    ],
)
def test_words_that_a_line_cuts_are_whole_in_every_kind_of_text(limits: Limits, name: str, document: str) -> None:
    words = parse(document.encode(), name, "", limits).text.replace("|", " ").replace(",", " ").split()
    assert {"korisniku", "usluge", "prelomljeno"} <= set(words)
