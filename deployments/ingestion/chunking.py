"""Splits a document's Markdown into chunks that the embedder reads in full, each under its own headings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from deployments.ingestion.base import Chunk, ParsedDocument
from deployments.ingestion.blocks import Section, blocks, near_space, sections, unbroken_parts
from deployments.ingestion.nesting import parts_by_nesting
from deployments.ingestion.token_counts import CHARACTERS_PER_TOKEN, TokenCounts

_ARTICLE_CHARACTERS = 12_000
"""Longest section that counts as one article, whose chunks are about one thing."""
_CHUNK_CHARACTERS = 16_000
"""Longest chunk, which is at most 64,000 bytes: the index stores at most 65,535 of one text."""
_WINDOW_CHARACTERS_PER_TOKEN = 40
"""Characters that a splitter is given at once, for each token of a chunk: about ten chunks of prose."""
_ROWS_PER_COUNT = 256
"""Rows whose tokens are counted in one call."""
_Kind = type[MarkdownSplitter] | type[TextSplitter]


def split_into_chunks(
    document: ParsedDocument, tokenizer: Tokenizer, *, chunk_tokens: int, overlap: int
) -> list[Chunk]:
    """The document's chunks in order, each of at most `chunk_tokens` tokens, special ones not counted.

    - Every heading with text below it starts a chunk, so no text comes under the heading of the text before.
    - No chunk has only headings if they fit into one with some of their text.
    - Within a section chunks end where the text's structure does, and share up to `overlap` tokens.
    - A table (rows that begin with `|`) that fits into a chunk with the heading right above it is never cut.
    - Text between lines of many quote or list marks is split as plain text: as Markdown it would take minutes.
    - No chunk has over ten characters for each token: a tokenizer may count a word of any length as one.
    - Text without a letter or digit, such as a code fence's last line, makes no chunk.
    - A larger table is cut between its rows, and each part gets the table's header. A header of more than half a
      chunk is not repeated.

    The tokenizer must neither truncate nor pad. Blocks for seconds on a long text.
    """
    split = _Splitter(tokenizer, chunk_tokens, overlap)
    page_starts = [start for start, _ in document.pages]
    chunks: list[Chunk] = []
    for section in sections(document.text):
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
class _Span:
    """The text of a future chunk: `start` to `end` of a section, with a table's `header` put above it, if any."""

    start: int
    end: int
    header: str = ""
    is_table: bool = False

    def text(self, section: str) -> str:
        return self.header + section[self.start : self.end]


@dataclass(slots=True)
class _Joining:
    """Neighbours that are joined, as long as they have few enough tokens by the sum of their counts."""

    parts: list[_Span]
    span: _Span
    tokens: int | None = None
    """Counted when a neighbour may be joined. Text is never joined with text."""


class _Splitter:
    """Splits sections.

    The work for a text grows with its length alone, whatever is in it: no character is counted or handed to a splitter
    more than a bounded number of times.
    """

    def __init__(self, tokenizer: Tokenizer, chunk_tokens: int, overlap: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._overlap = overlap
        self._most_characters = chunk_tokens * CHARACTERS_PER_TOKEN
        self._tokens = TokenCounts(tokenizer, self._most_characters)

    def __call__(self, section: Section) -> list[_Span]:
        most = min(self._most_characters, _CHUNK_CHARACTERS)
        return [part for span in self._by_tokens(section) for part in _cut(span, section.text, most)]

    def _by_tokens(self, section: Section) -> list[_Span]:
        text = section.text
        section_span = _stripped(text, 0, len(text))
        if section_span.start < section_span.end and self._fits(section_span, text, self._chunk_tokens):
            return [section_span]
        heading = _stripped(text, 0, section.body)
        room = self._chunk_tokens - self._tokens.of(heading.text(text))
        if heading.start == heading.end or section.body == len(text) or room < max(1, self._chunk_tokens // 2):
            return self._spans(text, 0, self._chunk_tokens)
        # A splitter would leave the heading alone if the first paragraph fills a chunk. So the text is split for the
        # room below the heading, and the heading is put above the first part.
        first, *rest = self._spans(text, section.body, room)
        joined = _stripped(text, 0, first.end)
        return [joined, *rest] if self._fits(joined, text, self._chunk_tokens) else [heading, first, *rest]

    def _spans(self, text: str, start: int, size: int) -> list[_Span]:
        """The tables in `text` from `start` on, and the text between them; neighbours are joined where they fit.

        Text, and the first span, have at most `size` tokens, which leaves room for a heading. Tables may fill a chunk.
        """
        found: list[_Joining] = []
        for begin, end, is_table in blocks(text, start):
            if is_table:
                parts = self._table(text, begin, end, self._chunk_tokens if found else size)
            else:
                parts = self._split(text, begin, end, size)
            for part in parts:
                most = size if len(found) == 1 else self._chunk_tokens
                if not (found and self._join(found[-1], part, text, most)):
                    found.append(_Joining([part], part))
        return [
            span
            for number, joining in enumerate(found)
            for span in self._checked(joining, text, self._chunk_tokens if number else size)
        ]

    def _join(self, joining: _Joining, part: _Span, text: str, most: int) -> bool:
        joined = _joined(joining.span, part)
        if joined is None:
            return False
        if joining.tokens is None:
            joining.tokens = self._tokens.of(joining.span.text(text))
        tokens = joining.tokens + self._tokens.of(text[joining.span.end : part.end])
        if tokens > most:
            return False
        joining.parts.append(part)
        joining.span, joining.tokens = joined, tokens
        return True

    def _checked(self, joining: _Joining, text: str, most: int) -> list[_Span]:
        """What is joined, in one if it fits: a text may have more tokens than its parts."""
        is_one = len(joining.parts) == 1 or self._fits(joining.span, text, most)
        return [joining.span] if is_one else joining.parts

    def _split(self, text: str, begin: int, end: int, size: int) -> Iterator[_Span]:
        for unbroken_begin, unbroken_end in unbroken_parts(text, begin, end):
            for first, last, is_deep in parts_by_nesting(text, unbroken_begin, unbroken_end):
                yield from self._windows(text, first, last, size, TextSplitter if is_deep else MarkdownSplitter)

    def _windows(self, text: str, begin: int, end: int, size: int, kind: _Kind) -> Iterator[_Span]:
        """A splitter's time for a chunk grows with the text that it is given, so it is given a window at a time.

        The last chunk of a window may end where the window does, so the next window begins with it again.
        """
        splitter = self._sized(size, kind)
        while begin < end:
            window_end = min(begin + size * _WINDOW_CHARACTERS_PER_TOKEN, end)
            if window_end < end:
                window_end = max(near_space(text, window_end), begin + 1)
            spans = [*self._window(text, begin, window_end, size, splitter)]
            is_repeated = window_end < end and len(spans) > 1 and spans[-1].start > begin
            yield from spans[:-1] if is_repeated else spans
            begin = spans[-1].start if is_repeated else window_end

    def _window(
        self, text: str, begin: int, end: int, size: int, splitter: MarkdownSplitter | TextSplitter
    ) -> Iterator[_Span]:
        window = text[begin:end]
        self._tokens.read(window)
        for start, part in splitter.chunk_indices(window):
            if self._tokens.of(part) <= size:
                yield _Span(begin + start, begin + start + len(part))
            else:
                yield from self._exactly(begin + start, part, size)

    def _exactly(self, begin: int, part: str, size: int) -> Iterator[_Span]:
        """A part that has more tokens by itself than within its window, split once more."""
        exact = TextSplitter.from_callback(self._tokens.of, size)
        for start, piece in exact.chunk_indices(part):
            yield _Span(begin + start, begin + start + len(piece))

    def _table(self, text: str, begin: int, end: int, size: int) -> Iterator[_Span]:
        table = _stripped(text, begin, end)
        lines = text[begin:end].splitlines(keepends=True)
        first_row = begin + len(lines[0]) + len(lines[1])
        header = text[begin:first_row]
        room = size - self._tokens.of(header)
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
        for part in self._split(text, begin, end, size - self._tokens.of(header)):
            with_header = replace(part, header=header, is_table=True)
            yield with_header if self._fits(with_header, text, size) else part

    def _with_token_counts(self, lines: list[str]) -> Iterator[tuple[str, int]]:
        for start in range(0, len(lines), _ROWS_PER_COUNT):
            batch = lines[start : start + _ROWS_PER_COUNT]
            yield from zip(batch, self._tokens.of_each(batch), strict=True)

    def _sized(self, size: int, kind: _Kind) -> MarkdownSplitter | TextSplitter:
        # Not `from_huggingface_tokenizer`: each splitter would copy the tokenizer, which for e5 takes 270 MiB.
        return kind.from_callback(self._tokens.of_part, size, overlap=min(self._overlap, size // 2))

    def _fits(self, span: _Span, text: str, size: int) -> bool:
        return self._tokens.of(span.text(text)) <= size


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
