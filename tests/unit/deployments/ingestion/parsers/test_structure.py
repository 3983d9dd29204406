from __future__ import annotations

import pytest

from deployments.ingestion.parsers.structure import mark_headings
from deployments.ingestion.parsers.text import clean


@pytest.mark.parametrize("line", ["Članak 12.", "Članak 12", "ČLANAK 3.", "Članak 5.a", "Članak 5a.", "Article 7"])
def test_an_article_alone_on_its_line_is_a_heading(line: str) -> None:
    assert clean(mark_headings(f"Prije.\n{line}\nPoslije.")) == f"Prije.\n\n## {line}\n\nPoslije."


def test_emphasis_around_an_article_goes() -> None:
    assert clean(mark_headings("**Članak  4.**")) == "## Članak 4."


@pytest.mark.parametrize(
    "line", ["Članak 12. ovoga Zakona primjenjuje se.", "U smislu članka 5.", "članak 5.", "| Članak 5. |"]
)
def test_an_article_inside_a_sentence_is_not(line: str) -> None:
    assert mark_headings(line) == line


def test_chapters_and_the_title_above_an_article_are_headings_above_it() -> None:
    text = "GLAVA II.\n\nPojmovi\n\nČlanak 2.\n\nTekst drugog.\n\nČlanak 3.\n\nTekst trećeg."
    assert clean(mark_headings(text)) == (
        "# GLAVA II.\n\n# Pojmovi\n\n## Članak 2.\n\nTekst drugog.\n\n## Članak 3.\n\nTekst trećeg."
    )


def test_a_sentence_above_an_article_is_no_title() -> None:
    assert "# Ovaj" not in mark_headings("Ovaj Zakon stupa na snagu.\n\nČlanak 3.\n\nTekst.")


def test_a_title_at_the_end_of_the_paragraph_above_its_article_is_one_too() -> None:
    text = "Članak 110.\n\nTko ubije drugoga, kaznit će se. Teško ubojstvo\n\nČlanak 111.\n\nTekst."
    assert clean(mark_headings(text)) == (
        "## Članak 110.\n\nTko ubije drugoga, kaznit će se.\n\n# Teško ubojstvo\n\n## Članak 111.\n\nTekst."
    )


def test_all_that_an_article_says_is_no_title_of_the_next() -> None:
    assert "# Brisan" not in mark_headings("Članak 3.\n\nBrisan\n\nČlanak 4.\n\nTekst.")


def test_code_is_left_alone() -> None:
    code = "```\nČlanak 3.\n```"
    assert mark_headings(code) == code


@pytest.mark.parametrize(("mark", "above"), [("##", "#"), ("####", "###"), ("#", "#")])
def test_a_title_goes_above_an_article_that_is_marked_already(mark: str, above: str) -> None:
    text = f"{mark} Članak 110.\n\nTko ubije, kaznit će se. Teško ubojstvo\n\n{mark} Članak 111.\n\nTekst."
    assert clean(mark_headings(text)) == (
        f"{mark} Članak 110.\n\nTko ubije, kaznit će se.\n\n{above} Teško ubojstvo\n\n{mark} Članak 111.\n\nTekst."
    )


def test_a_chapters_number_goes_with_its_title() -> None:
    text = "## Članak 14.\n\n(2) Ustroj propisuje ministar. IV. OGRANIČENJA Njihovo trajanje\n\n## Članak 15.\n\nTekst."
    assert "ministar.\n\n# IV. OGRANIČENJA Njihovo trajanje\n\n## Članak 15." in clean(mark_headings(text))


@pytest.mark.parametrize(
    "line",
    ["# 3. Zakon o žalbi", "Stupa na snagu (NN 5/20.)", "| a. | Red |", "Tekst završava rečenicom. I još jednom."],
)
def test_what_is_no_title_stays_above_its_article(line: str) -> None:
    text = f"{line}\n\n## Članak 1.\n\nTekst."
    assert mark_headings(text) == text


def test_marking_twice_is_marking_once() -> None:
    text = "GLAVA II.\n\nPojmovi\n\nČlanak 2.\n\nDrugi. Treći naslov\n\nČlanak 3.\n\nTekst."
    once = clean(mark_headings(text))
    assert clean(mark_headings(once)) == once
