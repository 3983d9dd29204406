"""A document's Markdown → chunks that an embedder reads whole, each under its own headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from semantic_text_splitter import MarkdownSplitter
from tokenizers import Tokenizer

from deployments.ingestion.base import Chunk, ParsedDocument

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def chunk(document: ParsedDocument, tokenizer: Tokenizer, *, chunk_tokens: int, overlap: int) -> list[Chunk]:
    """Split a document into chunks of at most `chunk_tokens` tokens (special ones not counted), in order.

    Every heading with text below it starts a chunk, so that a text never comes with the heading of the text
    before, and no chunk is headings alone where they and some text fit together; within a section, chunks end
    where the text's structure does and share up to `overlap` tokens. The tokenizer must neither truncate nor pad.
    Blocks for seconds on a long text, without the interpreter's lock.
    """
    split = _Splitter(tokenizer, chunk_tokens, overlap)
    pieces = ((text, section.headings) for section in _sections(document.text) for text in split(section))
    return [Chunk(position, text, headings) for position, (text, headings) in enumerate(pieces)]


@dataclass(frozen=True, slots=True)
class _Section:
    """Headings that follow one another and the text below the last of them, which begins at `body`.
    `headings` is the path to that text."""

    text: str
    body: int
    headings: tuple[str, ...]


class _Splitter:
    """Splits sections. Splitters are kept by size, because each copies the tokenizer."""

    def __init__(self, tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> None:
        self._tokenizer = tokenizer
        self._chunk_tokens = chunk_tokens
        self._overlap = overlap
        self._by_size: dict[int, MarkdownSplitter] = {}

    def __call__(self, section: _Section) -> list[str]:
        whole = section.text.strip()
        if whole and self._count(whole) <= self._chunk_tokens:
            return [whole]
        heading, body = section.text[: section.body].strip(), section.text[section.body :]
        room = self._chunk_tokens - self._count(heading)
        if not heading or not body or room < self._chunk_tokens // 2:
            chunks: list[str] = self._sized(self._chunk_tokens).chunks(section.text)
            return chunks
        # A splitter would leave the heading alone above a paragraph that fills a chunk: split the text for
        # what the heading leaves, and put them together.
        (start, first), *rest = self._sized(room - room % _size_step(self._chunk_tokens)).chunk_indices(body)
        joined = section.text[: section.body + start + len(first)].strip()
        above = [joined] if self._count(joined) <= self._chunk_tokens else [heading, first]
        return [*above, *(text for _, text in rest)]

    def _sized(self, size: int) -> MarkdownSplitter:
        if size not in self._by_size:
            self._by_size[size] = MarkdownSplitter.from_huggingface_tokenizer(
                self._tokenizer, size, overlap=min(self._overlap, size // 2)
            )
        return self._by_size[size]

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))


def _size_step(chunk_tokens: int) -> int:
    """What sizes are rounded down to, so that there are at most nine splitters however many headings there are."""
    return max(1, chunk_tokens // 16)


def _sections(text: str) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []
    heads: list[str] = []
    body: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        heading = None if fence else _HEADING.fullmatch(bare)
        if heading:
            if body:
                yield _section(heads, body, path)
                heads, body = [], []
            level = len(heading[1])
            path = [*((above, name) for above, name in path if above < level), (level, heading[2])]
            heads.append(line)
        else:
            fence = _fence_after(bare, fence)
            (body if body or bare.strip() else heads).append(line)
    if heads or body:
        yield _section(heads, body, path)


def _section(heads: list[str], body: list[str], path: list[tuple[int, str]]) -> _Section:
    above = "".join(heads)
    return _Section(above + "".join(body), len(above), tuple(name for _, name in path if name))


def _fence_after(line: str, fence: str) -> str:
    """The code fence that is open after a line, empty if none."""
    mark = _FENCE.match(line)
    if not mark:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence
