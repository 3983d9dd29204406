"""A document's Markdown → chunks that an embedder reads whole, each under its own headings."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from semantic_text_splitter import MarkdownSplitter
from tokenizers import Tokenizer

from deployments.ingestion.base import Chunk, ParsedDocument

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ROW = re.compile(r" {0,3}\|.*")
_BELOW_HEADER = re.compile(r" {0,3}\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*")
_ROWS_COUNTED = 256


def split_into_chunks(
    document: ParsedDocument, tokenizer: Tokenizer, *, chunk_tokens: int, overlap: int
) -> list[Chunk]:
    """Split a document into chunks of at most `chunk_tokens` tokens (special ones not counted), in order.

    Every heading with text below it starts a chunk, so that a text never comes with the heading of the text
    before, and no chunk is headings alone where they and some text fit together; within a section, chunks end
    where the text's structure does and share up to `overlap` tokens. A table (of rows that begin with `|`) that fits
    into a chunk, with the heading right above it, is never cut; a larger one is cut between its rows and its header
    stands above each piece, unless the header takes more than half of a chunk. The tokenizer must neither truncate
    nor pad. Blocks for seconds on a long text, without the interpreter's lock.
    """
    split = _splitter(tokenizer, chunk_tokens, overlap)
    starts = [start for start, _ in document.pages]
    chunks: list[Chunk] = []
    for section in _sections(document.text):
        for piece in split(section):
            page = bisect_right(starts, section.start + piece.start)
            number = document.pages[page - 1][1] if page else None
            chunks.append(Chunk(len(chunks), piece.text(section.text), section.headings, number))
    return chunks


@dataclass(frozen=True, slots=True)
class _Section:
    """Headings that follow one another and the text below the last of them, which begins at `body`. It begins at
    `start` of the document. `headings` is the path to that text."""

    start: int
    text: str
    body: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What becomes a chunk: a part of a section's text, or rows of a table with the `header` that stands above them."""

    start: int
    end: int
    header: str = ""
    of_table: bool = False

    def text(self, section: str) -> str:
        return self.header + section[self.start : self.end]


class _Splitter:
    """Splits sections. Splitters are kept by size, because each copies the tokenizer, which takes longer than to split
    a document."""

    def __init__(self, tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> None:
        self._tokenizer = tokenizer
        self._chunk_tokens = chunk_tokens
        self._overlap = overlap
        self._by_size: dict[int, MarkdownSplitter] = {}

    def __call__(self, section: _Section) -> list[_Piece]:
        text = section.text
        whole = _stripped(text, 0, len(text))
        if whole.start < whole.end and self._fits(whole, text, self._chunk_tokens):
            return [whole]
        heading = _stripped(text, 0, section.body)
        room = self._chunk_tokens - self._count(heading.text(text))
        if heading.start == heading.end or section.body == len(text) or room < max(1, self._chunk_tokens // 2):
            return self._pieces(text, 0, self._chunk_tokens)
        # A splitter would leave the heading alone above a paragraph that fills a chunk: split the text for
        # what the heading leaves, and put them together.
        first, *rest = self._pieces(text, section.body, self._step_down(room))
        joined = _stripped(text, 0, first.end)
        return [joined, *rest] if self._fits(joined, text, self._chunk_tokens) else [heading, first, *rest]

    def _pieces(self, text: str, start: int, size: int) -> list[_Piece]:
        """Of `text` from `start` on: its tables and what is between them, put together where they fit.

        Text and the first piece are of at most `size`, which leaves room for a heading; tables may fill a chunk."""
        pieces: list[_Piece] = []
        for begin, end, is_table in _blocks(text, start):
            if is_table:
                parts = self._table(text, begin, end, self._chunk_tokens if pieces else size)
            else:
                parts = self._split(text, begin, end, size)
            for part in parts:
                most = size if len(pieces) == 1 else self._chunk_tokens
                if pieces and (joined := _joined(pieces[-1], part)) and self._fits(joined, text, most):
                    pieces[-1] = joined
                else:
                    pieces.append(part)
        return pieces

    def _split(self, text: str, begin: int, end: int, size: int) -> Iterator[_Piece]:
        for start, piece in self._sized(size).chunk_indices(text[begin:end]):
            yield _Piece(begin + start, begin + start + len(piece))

    def _table(self, text: str, begin: int, end: int, size: int) -> Iterator[_Piece]:
        whole = _stripped(text, begin, end)
        lines = text[begin:end].splitlines(keepends=True)
        rows = begin + len(lines[0]) + len(lines[1])
        header = text[begin:rows]
        room = size - self._count(header)
        if self._fits(whole, text, size):
            yield replace(whole, of_table=True)
        elif room < max(1, size // 2):
            yield from self._split(text, begin, end, size)
        else:
            start, reached, used = rows, rows, 0
            for line, tokens in self._counted(lines[2:]):
                if used and used + tokens > room:
                    yield from self._rows(text, start, reached, header, size)
                    start, used = reached, 0
                reached, used = reached + len(line), used + tokens
            yield from self._rows(text, start, reached, header, size)

    def _rows(self, text: str, begin: int, end: int, header: str, size: int) -> Iterator[_Piece]:
        """Rows that fit below their header, or one that does not: its parts, each below the header."""
        piece = replace(_stripped(text, begin, end), header=header, of_table=True)
        if self._fits(piece, text, size):
            yield piece
            return
        for part in self._split(text, begin, end, self._step_down(size - self._count(header))):
            below = replace(part, header=header, of_table=True)
            yield below if self._fits(below, text, size) else part

    def _counted(self, lines: list[str]) -> Iterator[tuple[str, int]]:
        for start in range(0, len(lines), _ROWS_COUNTED):
            batch = lines[start : start + _ROWS_COUNTED]
            yield from zip(batch, map(len, self._tokenizer.encode_batch(batch, add_special_tokens=False)), strict=True)

    def _sized(self, size: int) -> MarkdownSplitter:
        if size not in self._by_size:
            self._by_size[size] = MarkdownSplitter.from_huggingface_tokenizer(
                self._tokenizer, size, overlap=min(self._overlap, size // 2)
            )
        return self._by_size[size]

    def _fits(self, piece: _Piece, text: str, size: int) -> bool:
        return self._count(piece.text(text)) <= size

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _step_down(self, size: int) -> int:
        """The size rounded down, so that there are few splitters however many headings and tables there are."""
        return size - size % max(1, self._chunk_tokens // 16)


@lru_cache(maxsize=1)
def _splitter(tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> _Splitter:
    """The one that the document before had, unless its embedder or its collection's sizes were others. No more are
    kept: a model of many languages has a tokenizer of hundreds of MiB."""
    return _Splitter(tokenizer, chunk_tokens, overlap)


def _joined(piece: _Piece, following: _Piece) -> _Piece | None:
    """A table's piece with the text beside it, or another table's beginning. None for what is kept apart."""
    if following.header or not (piece.of_table or following.of_table):
        return None
    return replace(piece, end=following.end, of_table=True)


def _stripped(text: str, begin: int, end: int) -> _Piece:
    part = text[begin:end]
    return _Piece(begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())) if part.strip() else _Piece(0, 0)


def _sections(text: str) -> Iterator[_Section]:
    start = 0
    path: list[tuple[int, str]] = []
    heads: list[str] = []
    body: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        heading = None if fence else _HEADING.fullmatch(bare)
        if heading:
            if body:
                section = _section(start, heads, body, path)
                yield section
                start += len(section.text)
                heads, body = [], []
            level = len(heading[1])
            path = [*((above, name) for above, name in path if above < level), (level, heading[2])]
            heads.append(line)
        else:
            fence = _fence_after(bare, fence)
            (body if body or bare.strip() else heads).append(line)
    if heads or body:
        yield _section(start, heads, body, path)


def _section(start: int, heads: list[str], body: list[str], path: list[tuple[int, str]]) -> _Section:
    above = "".join(heads)
    return _Section(start, above + "".join(body), len(above), tuple(name for _, name in path if name))


def _blocks(text: str, start: int) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it is a table) of the tables in `text` from `start` on, and of what is between them."""
    lines = text[start:].splitlines(keepends=True)
    begin = end = start  # of the block that is being read
    in_table = False
    fence = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_row = not fence and _ROW.fullmatch(line.rstrip("\r\n")) is not None
        begins = is_row and not in_table and _BELOW_HEADER.fullmatch(following.rstrip("\r\n")) is not None
        if begins or (in_table and not is_row):
            if end > begin:
                yield begin, end, in_table
            begin, in_table = end, begins
        fence = _fence_after(line.rstrip("\r\n"), fence)
        end += len(line)
    if end > begin:
        yield begin, end, in_table


def _fence_after(line: str, fence: str) -> str:
    """The code fence that is open after a line, empty if none."""
    mark = _FENCE.match(line)
    if not mark:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence
