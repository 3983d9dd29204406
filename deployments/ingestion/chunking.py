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
    before; within a section, chunks end where the text's structure does and share up to `overlap` tokens.
    The tokenizer must neither truncate nor pad. Blocks for seconds on a long text, without the interpreter's lock.
    """
    splitter = MarkdownSplitter.from_huggingface_tokenizer(
        tokenizer, chunk_tokens, overlap=min(overlap, chunk_tokens // 2)
    )
    pieces = (
        (text, section.headings) for section in _sections(document.text) for text in splitter.chunks(section.text)
    )
    return [Chunk(position, text, headings) for position, (text, headings) in enumerate(pieces)]


@dataclass(frozen=True, slots=True)
class _Section:
    """Headings that follow one another and the text below the last of them. `headings` is the path to that text."""

    text: str
    headings: tuple[str, ...]


def _sections(text: str) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    has_body = False
    fence = ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        heading = None if fence else _HEADING.fullmatch(bare)
        if heading:
            if has_body:
                yield _Section("".join(lines), _names(path))
                lines, has_body = [], False
            level = len(heading[1])
            path = [*((above, name) for above, name in path if above < level), (level, heading[2])]
        else:
            fence = _fence_after(bare, fence)
            has_body = has_body or bool(bare.strip())
        lines.append(line)
    if lines:
        yield _Section("".join(lines), _names(path))


def _names(path: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(name for _, name in path if name)


def _fence_after(line: str, fence: str) -> str:
    """The code fence that is open after a line, empty if none."""
    mark = _FENCE.match(line)
    if not mark:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence
