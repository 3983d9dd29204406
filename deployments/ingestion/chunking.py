"""Splits a document's Markdown into chunks that the embedder reads in full, each under its own headings."""

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
_HEADER_RULE = re.compile(r" {0,3}\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*")
_ARTICLE_CHARACTERS = 12_000
"""Longest section that counts as one article, whose chunks are about one thing."""
_CHARACTERS_PER_TOKEN = 10
"""More than text in any language has. Prose has three to five."""
_CHUNK_CHARACTERS = 16_000
"""Longest chunk, which is at most 64,000 bytes: the index stores at most 65,535 of one text."""
_ROWS_PER_COUNT = 256
"""Rows whose tokens are counted in one call."""


def split_into_chunks(
    document: ParsedDocument, tokenizer: Tokenizer, *, chunk_tokens: int, overlap: int
) -> list[Chunk]:
    """The document's chunks in order, each of at most `chunk_tokens` tokens, special ones not counted.

    - Every heading with text below it starts a chunk, so no text comes under the heading of the text before.
    - No chunk has only headings if they fit into one with some of their text.
    - Within a section chunks end where the text's structure does, and share up to `overlap` tokens.
    - A table (rows that begin with `|`) that fits into a chunk with the heading right above it is never cut.
    - No chunk has over ten characters for each token: a tokenizer may count a word of any length as one.
    - Text without a letter or digit, such as a code fence's last line, makes no chunk.
    - A larger table is cut between its rows, and each part gets the table's header. A header of more than half a
      chunk is not repeated.

    The tokenizer must neither truncate nor pad. Blocks for seconds on a long text, without the interpreter's lock.
    """
    split = _splitter(tokenizer, chunk_tokens, overlap)
    page_starts = [start for start, _ in document.pages]
    chunks: list[Chunk] = []
    for section in _sections(document.text):
        spans = [span for span in split(section) if any(map(str.isalnum, span.text(section.text)))]
        is_cut_article = len(spans) > 1 and len(section.text) <= _ARTICLE_CHARACTERS
        first = len(chunks)
        for position, span in enumerate(spans, first):
            start, end = section.start + span.start, section.start + span.end
            pages_begun = bisect_right(page_starts, start)
            chunks.append(
                Chunk(
                    position,
                    span.text(section.text),
                    section.headings,
                    page=document.pages[pages_begun - 1][1] if pages_begun else None,
                    characters=(start, end),
                    section=section.text if is_cut_article else "",
                    of_section=(first, first + len(spans) - 1) if is_cut_article else (),
                )
            )
    return chunks


@dataclass(frozen=True, slots=True)
class _Section:
    """One heading, or several in a row, and the text below them.

    `start` is the section's offset in the document, `body` the offset of the text below in `text`. `headings` are
    those that the text is under, outermost first.
    """

    start: int
    text: str
    body: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """The text of a future chunk: `start` to `end` of a section, with a table's `header` put above it, if any."""

    start: int
    end: int
    header: str = ""
    is_table: bool = False

    def text(self, section: str) -> str:
        return self.header + section[self.start : self.end]


class _Splitter:
    """Splits sections. Splitters are kept by size: making one copies the tokenizer, which takes longer than splitting
    a document."""

    def __init__(self, tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> None:
        self._tokenizer = tokenizer
        self._chunk_tokens = chunk_tokens
        self._overlap = overlap
        self._by_size: dict[int, MarkdownSplitter] = {}

    def __call__(self, section: _Section) -> list[_Span]:
        most = min(self._chunk_tokens * _CHARACTERS_PER_TOKEN, _CHUNK_CHARACTERS)
        return [part for span in self._by_tokens(section) for part in _cut(span, section.text, most)]

    def _by_tokens(self, section: _Section) -> list[_Span]:
        text = section.text
        section_span = _stripped(text, 0, len(text))
        if section_span.start < section_span.end and self._fits(section_span, text, self._chunk_tokens):
            return [section_span]
        heading = _stripped(text, 0, section.body)
        room = self._chunk_tokens - self._count(heading.text(text))
        if heading.start == heading.end or section.body == len(text) or room < max(1, self._chunk_tokens // 2):
            return self._spans(text, 0, self._chunk_tokens)
        # A splitter would leave the heading alone if the first paragraph fills a chunk. So the text is split for the
        # room below the heading, and the heading is put above the first part.
        first, *rest = self._spans(text, section.body, self._step_down(room))
        joined = _stripped(text, 0, first.end)
        return [joined, *rest] if self._fits(joined, text, self._chunk_tokens) else [heading, first, *rest]

    def _spans(self, text: str, start: int, size: int) -> list[_Span]:
        """The tables in `text` from `start` on, and the text between them; neighbours are joined where they fit.

        Text, and the first span, have at most `size` tokens, which leaves room for a heading. Tables may fill a chunk.
        """
        spans: list[_Span] = []
        for begin, end, is_table in _blocks(text, start):
            if is_table:
                parts = self._table(text, begin, end, self._chunk_tokens if spans else size)
            else:
                parts = self._split(text, begin, end, size)
            for part in parts:
                max_tokens = size if len(spans) == 1 else self._chunk_tokens
                if spans and (joined := _joined(spans[-1], part)) and self._fits(joined, text, max_tokens):
                    spans[-1] = joined
                else:
                    spans.append(part)
        return spans

    def _split(self, text: str, begin: int, end: int, size: int) -> Iterator[_Span]:
        for start, part in self._sized(size).chunk_indices(text[begin:end]):
            yield _Span(begin + start, begin + start + len(part))

    def _table(self, text: str, begin: int, end: int, size: int) -> Iterator[_Span]:
        table = _stripped(text, begin, end)
        lines = text[begin:end].splitlines(keepends=True)
        first_row = begin + len(lines[0]) + len(lines[1])
        header = text[begin:first_row]
        room = size - self._count(header)
        if self._fits(table, text, size):
            yield replace(table, is_table=True)
        elif room < max(1, size // 2):
            yield from self._split(text, begin, end, size)
        else:
            start = row_start = first_row
            used_tokens = 0
            for row, tokens in self._with_token_counts(lines[2:]):
                if used_tokens and used_tokens + tokens > room:
                    yield from self._rows(text, start, row_start, header, size)
                    start, used_tokens = row_start, 0
                row_start, used_tokens = row_start + len(row), used_tokens + tokens
            yield from self._rows(text, start, row_start, header, size)

    def _rows(self, text: str, begin: int, end: int, header: str, size: int) -> Iterator[_Span]:
        """Rows with the header above them. One row that is too long for that is split, with the header above each
        part where it fits."""
        rows = replace(_stripped(text, begin, end), header=header, is_table=True)
        if self._fits(rows, text, size):
            yield rows
            return
        for part in self._split(text, begin, end, self._step_down(size - self._count(header))):
            with_header = replace(part, header=header, is_table=True)
            yield with_header if self._fits(with_header, text, size) else part

    def _with_token_counts(self, lines: list[str]) -> Iterator[tuple[str, int]]:
        for start in range(0, len(lines), _ROWS_PER_COUNT):
            batch = lines[start : start + _ROWS_PER_COUNT]
            yield from zip(batch, map(len, self._tokenizer.encode_batch(batch, add_special_tokens=False)), strict=True)

    def _sized(self, size: int) -> MarkdownSplitter:
        if size not in self._by_size:
            self._by_size[size] = MarkdownSplitter.from_huggingface_tokenizer(
                self._tokenizer, size, overlap=min(self._overlap, size // 2)
            )
        return self._by_size[size]

    def _fits(self, span: _Span, text: str, size: int) -> bool:
        return self._count(span.text(text)) <= size

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _step_down(self, size: int) -> int:
        """The size rounded down to one of a few, because a splitter is kept for each size."""
        return size - size % max(1, self._chunk_tokens // 16)


@lru_cache(maxsize=1)
def _splitter(tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> _Splitter:
    """The last document's splitter, if this one has the same tokenizer and sizes. Only one is kept: the tokenizer of a
    multilingual model takes hundreds of MiB."""
    return _Splitter(tokenizer, chunk_tokens, overlap)


def _cut(span: _Span, text: str, characters: int) -> Iterator[_Span]:
    """The span, in parts of at most so many characters each. They end between words if there are any."""
    if len(span.header) + span.end - span.start <= characters:
        yield span
        return
    header = span.header if len(span.header) <= characters // 2 else ""
    start = span.start
    while start < span.end:
        end = min(start + characters - len(header), span.end)
        if end < span.end and (last_space := max(text.rfind(" ", start, end), text.rfind("\n", start, end))) > start:
            end = last_space
        yield replace(span, start=start, end=end, header=header)
        start = end


def _joined(span: _Span, following: _Span) -> _Span | None:
    """Two neighbours as one span, if one is a table and the second has no header of its own; else None."""
    if following.header or not (span.is_table or following.is_table):
        return None
    return replace(span, end=following.end, is_table=True)


def _stripped(text: str, begin: int, end: int) -> _Span:
    part = text[begin:end]
    return _Span(begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())) if part.strip() else _Span(0, 0)


def _sections(text: str) -> Iterator[_Section]:
    start = 0
    path: list[tuple[int, str]] = []  # (level, heading) of the headings that a line is under
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
            path = [*((outer_level, name) for outer_level, name in path if outer_level < level), (level, heading[2])]
            heads.append(line)
        else:
            fence = _fence_after(bare, fence)
            (body if body or bare.strip() else heads).append(line)
    if heads or body:
        yield _section(start, heads, body, path)


def _section(start: int, heads: list[str], body: list[str], path: list[tuple[int, str]]) -> _Section:
    heading_lines = "".join(heads)
    return _Section(start, heading_lines + "".join(body), len(heading_lines), tuple(name for _, name in path if name))


def _blocks(text: str, start: int) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it is a table) of each table in `text` from `start` on, and of the text between them."""
    lines = text[start:].splitlines(keepends=True)
    begin = end = start  # of the block that is being read
    in_table = False
    fence = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_row = not fence and _ROW.fullmatch(line.rstrip("\r\n")) is not None
        begins_table = is_row and not in_table and _HEADER_RULE.fullmatch(following.rstrip("\r\n")) is not None
        if begins_table or (in_table and not is_row):
            if end > begin:
                yield begin, end, in_table
            begin, in_table = end, begins_table
        fence = _fence_after(line.rstrip("\r\n"), fence)
        end += len(line)
    if end > begin:
        yield begin, end, in_table


def _fence_after(line: str, fence: str) -> str:
    """The code fence that is open after a line; empty if none is. `fence` is the one before the line."""
    mark = _FENCE.match(line)
    if not mark:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence
