from __future__ import annotations

import pytest

from deployments.errors import BrokenDocument
from deployments.ingestion.parsers import parse
from deployments.ingestion.parsers.limits import Limits


@pytest.mark.parametrize("text", ["☺😀", "😀 !!! 👍🏽"])
def test_a_text_of_emoji_is_refused_for_what_it_is(limits: Limits, text: str) -> None:
    with pytest.raises(BrokenDocument, match="only signs, such as emoji"):
        parse(text.encode(), "a.txt", "", limits)


@pytest.mark.parametrize("text", [" \n", "---"])
def test_a_document_without_text_is_pointed_to_ocr(limits: Limits, text: str) -> None:
    with pytest.raises(BrokenDocument, match="OCR"):
        parse(text.encode(), "a.txt", "", limits)
