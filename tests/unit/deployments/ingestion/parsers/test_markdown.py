from __future__ import annotations

import pytest

from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.markdown import parse_markdown


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["---", "..."])
def test_front_matter_is_no_text_and_its_title_is_the_documents(newline: str, end: str) -> None:
    lines = ["---", "title: 'Pravilnik: o vodi'", "tags: [a, b]", "date: 2025-01-31", end, "", "# Uvod", "", "Voda."]
    document = parse_markdown(newline.join(lines).encode())
    assert document.title == "Pravilnik: o vodi"
    assert document.text == "# Uvod\n\nVoda."
    assert document.metadata == {"title": "Pravilnik: o vodi", "tags": ["a", "b"], "date": "2025-01-31"}


def test_front_matter_in_toml_and_fields_that_are_left_out() -> None:
    document = parse_markdown(b"+++\ntitle = 'O vodi'\nweight = nan\n+++\nVoda.")
    assert (document.title, document.text, document.metadata) == ("O vodi", "Voda.", {"title": "O vodi"})
    assert warnings(document.left_out) == ("1 field of the front matter that metadata cannot hold",)


def test_front_matter_without_a_title_or_with_one_in_croatian() -> None:
    assert parse_markdown(b"---\nlayout: post\n---\nVoda.").text == "Voda."
    assert parse_markdown(b"---\nlayout: post\n---\nVoda.").title == ""
    assert parse_markdown(b"\xef\xbb\xbf---\nNaslov: O vodi\n---\nVoda.").title == "O vodi"


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nTekst bez polja.\n\n---\n\nKraj.",
        "---\na: [\n---\nKraj.",
        "---\ntitle: x\n\nBez kraja.",
        "a\n\n---\nb: c\n---",
    ],
)
def test_what_only_looks_like_front_matter_stays(text: str) -> None:
    document = parse_markdown(text.encode())
    assert document.title == ""
    assert document.text == text
    assert document.metadata == {}


def test_pictures_within_the_text_are_counted() -> None:
    picture = f"![](data:image/png;base64,{'iVBORw0KGgo' * 60})"
    for text in (f"Voda. {picture}", f"---\ntitle: a\n---\nVoda. {picture}"):
        assert warnings(parse_markdown(text.encode()).left_out) == ("1 picture without text",)
