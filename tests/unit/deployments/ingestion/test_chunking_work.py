"""The work of chunking grows with a text's length alone, whatever is in it. It is counted, not timed."""

from __future__ import annotations

from typing import Any

import pytest
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from deployments.ingestion import chunking
from deployments.ingestion.base import Chunk, ParsedDocument
from deployments.ingestion.fake import word_tokenizer
from deployments.ingestion.token_counts import CHARACTERS_PER_TOKEN

SIZE = 200
WINDOW = SIZE * chunking._WINDOW_CHARACTERS_PER_TOKEN
CHARACTERS = 100_000


class Work:
    """The characters that were handed to splitters and to the tokenizer, and the most in one call."""

    def __init__(self) -> None:
        self.split: list[int] = []
        self.counted: list[int] = []


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    made = chunking._Splitter.__init__
    sized = chunking._Splitter._sized

    class Counting:
        def __init__(self, tokenizer: Tokenizer) -> None:
            self.real = tokenizer

        def encode(self, text: str, **options: Any) -> Any:
            done.counted.append(len(text))
            return self.real.encode(text, **options)

        def encode_batch(self, texts: list[str], **options: Any) -> Any:
            done.counted += map(len, texts)
            return self.real.encode_batch(texts, **options)

    class Splitter:
        def __init__(self, splitter: MarkdownSplitter | TextSplitter) -> None:
            self.real = splitter

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            done.split.append(len(text))
            found: list[tuple[int, str]] = self.real.chunk_indices(text)
            return found

    def counting(self: Any, tokenizer: Tokenizer, *sizes: int) -> None:
        made(self, Counting(tokenizer), *sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(chunking._Splitter, "__init__", counting)
    monkeypatch.setattr(chunking._Splitter, "_sized", lambda self, size, kind: Splitter(sized(self, size, kind)))
    return done


def split(text: str, overlap: int = 32) -> list[Chunk]:
    return chunking.split_into_chunks(ParsedDocument("", text), word_tokenizer(), chunk_tokens=SIZE, overlap=overlap)


def of_length(part: str) -> str:
    return part * (CHARACTERS // len(part))


TEXTS = {
    "one paragraph": of_length("riječ dva tri. "),
    "lines": of_length("a\n"),
    "paragraphs": of_length("a\n\n"),
    "quotes": of_length("> > > > > > > > riječ\n> a\n"),
    "lists": of_length("- - - - - - - - riječ\n"),
    "lists in quotes": of_length("> - > - > - > - riječ\n\n"),
    "emphasis": of_length("*a **b* c** _d_ "),
    "brackets": of_length("[a](b [c][d] "),
    "HTML": of_length("<b><i>a</i> <!-- b\n"),
    "footnotes": of_length("[^a]: b[^a]\n\n"),
    "headings of two lines": of_length("a b\n===\n"),
    "headings": of_length("# a\n"),
    "sections": of_length("# a\nb\n"),
    "tables": of_length("| a |\n| - |\nx\n"),
    "one table": "| a | b |\n| - | - |\n" + of_length("| c | d |\n"),
    "one row": "| a | b |\n| - | - |\n| " + of_length("c "),
    "a long header": "| " + of_length("c ") + "|\n| - |\n| a |\n",
    "code": "```\n" + of_length("a = b\n"),
    "without spaces": of_length("ab"),
    "without letters": of_length("1 "),
    "a gap": "a" + " " * CHARACTERS + "b",
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_character_is_counted_or_split_many_times(name: str, work: Work) -> None:
    text = TEXTS[name]
    chunks = split(text)
    assert max(work.split, default=0) <= WINDOW
    assert sum(work.split) <= 3 * len(text)
    assert max(work.counted) <= WINDOW
    assert sum(work.counted) <= 8 * len(text)
    assert chunks
    assert all(len(chunk.text) <= SIZE * CHARACTERS_PER_TOKEN for chunk in chunks)


@pytest.mark.parametrize("overlap", [0, 32])
@pytest.mark.parametrize("name", ["one paragraph", "paragraphs", "emphasis", "headings of two lines", "without spaces"])
def test_a_window_ends_where_no_chunk_does(name: str, overlap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXTS[name][:30_000]
    in_windows = split(text, overlap)
    monkeypatch.setattr(chunking, "_WINDOW_CHARACTERS_PER_TOKEN", CHARACTERS)
    assert split(text, overlap) == in_windows
