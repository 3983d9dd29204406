from __future__ import annotations

from collections import Counter

import pytest
from semantic_text_splitter import MarkdownSplitter, TextSplitter

from deployments.ingestion import chunking
from deployments.ingestion.base import Chunk, ParsedDocument
from deployments.ingestion.fake import word_tokenizer
from deployments.ingestion.nesting import MAX_MARK_COLUMNS, MAX_MARKS, parts_by_nesting


def split(text: str) -> list[Chunk]:
    return chunking.split_into_chunks(ParsedDocument("", text), word_tokenizer(), chunk_tokens=40, overlap=0)


@pytest.fixture
def given_as(monkeypatch: pytest.MonkeyPatch) -> dict[type, list[str]]:
    """The texts that each kind of splitter was given."""
    texts: dict[type, list[str]] = {MarkdownSplitter: [], TextSplitter: []}
    sized = chunking._Splitter._sized

    class Splitter:
        def __init__(self, splitter: MarkdownSplitter | TextSplitter) -> None:
            self._splitter = splitter

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            texts[type(self._splitter)].append(text)
            found: list[tuple[int, str]] = self._splitter.chunk_indices(text)
            return found

    monkeypatch.setattr(chunking._Splitter, "_sized", lambda self, size, kind: Splitter(sized(self, size, kind)))
    return texts


def letters(*texts: str) -> Counter[str]:
    return Counter(filter(str.isalnum, "".join(texts)))


@pytest.mark.parametrize("mark", [">", "> ", "- ", "1. ", "> - ", "[^1]: ", ": ", "\t> "])
def test_the_markdown_splitter_gets_no_line_of_more_marks_than_the_bound(
    mark: str, given_as: dict[type, list[str]]
) -> None:
    """Its time grows with the depth: a thousand lines of up to 200 marks took half a minute."""
    lines = [f"{mark * (count % 40)}riječ dva" for count in range(200)]
    text = "Uvod.\n\n" + "\n".join(lines) + "\n\nKraj ovoga."
    chunks = split(text)
    as_markdown = "".join(given_as[MarkdownSplitter])
    assert as_markdown.endswith("Kraj ovoga.")
    assert not any(mark * (MAX_MARKS + 1) in line for line in as_markdown.splitlines())
    assert given_as[TextSplitter]
    assert letters(*(chunk.text for chunk in chunks)) == letters(text)
    assert all(chunk.text == text[slice(*chunk.characters)] for chunk in chunks)


@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_the_markdown_splitter_gets_no_list_item_to_the_right_of_the_bound(
    indent: str, given_as: dict[type, list[str]]
) -> None:
    text = "".join(f"{indent * level}- stavka\n" for level in range(100))
    chunks = split(text)
    assert given_as[TextSplitter]
    for line in "".join(given_as[MarkdownSplitter]).splitlines():
        assert line.expandtabs(4).index("-") < MAX_MARK_COLUMNS
    assert letters(*(chunk.text for chunk in chunks)) == letters(text)


@pytest.mark.parametrize(
    "line",
    [
        "> " * MAX_MARKS + "odgovor",
        "  " * 10 + "- stavka",
        "- " * 40,
        "> " + "* " * 40,
        " " * 200 + "return a",
        "\t" * 14 + "- stavka",
        "a > b " * 30,
        "1.1.1.1.1.1.1.1.1.1. Članak",
        ">>>>>>> main",
    ],
)
def test_ordinary_lines_are_split_as_markdown_in_one_piece(line: str, given_as: dict[type, list[str]]) -> None:
    text = f"Uvod.\n\n{line}\n\nKraj. " + "riječ " * 60
    split(text)
    assert given_as == {MarkdownSplitter: [text], TextSplitter: []}


def test_lines_that_alternate_make_three_parts() -> None:
    before, after = "prvi\n", "drugi\n"
    deep = f"{'>' * 9} a\nb\n" * 50 + f"{'>' * 9} c\n"
    text = before + deep + after
    found = [(text[begin:end], is_deep) for begin, end, is_deep in parts_by_nesting(text, 0, len(text))]
    assert found == [(before, False), (deep, True), (after, False)]


def test_parts_keep_to_the_range_that_is_asked_for() -> None:
    deep = ">" * 9 + " a\n"
    text = deep + "prvi\n" + deep
    begin = len(deep)
    assert list(parts_by_nesting(text, begin, begin + 5)) == [(begin, begin + 5, False)]
    assert list(parts_by_nesting(text, begin, begin)) == []
