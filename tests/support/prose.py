"""Finds the prose of the project: of Markdown, docstrings and comments, as paragraphs, and their sentences."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Line = int
_FENCE = re.compile(r"^\s*(```|~~~)")
_END_OF_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]*_`]*\s+")
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+")


class Paragraph(NamedTuple):
    line: Line
    text: str


def of_markdown(text: str) -> Iterator[Paragraph]:
    """Paragraphs, items of lists and cells of tables. Code blocks, comments and front matter are no prose."""
    gathered: list[str] = []
    begin, in_code = 1, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if _FENCE.match(line):
            in_code = not in_code
        is_row = line.lstrip().startswith("|")
        ends = in_code or not line.strip() or is_row or bool(_FENCE.match(line)) or line.startswith(("#", "<!--"))
        if (ends or _ITEM.match(line)) and gathered:
            yield Paragraph(begin, " ".join(gathered))
            gathered = []
        if is_row and not in_code:
            for cell in line.strip().strip("|").split(" | "):
                yield Paragraph(number, cell)
        elif not ends:
            begin = begin if gathered else number
            gathered.append(_ITEM.sub("", line).strip())


def of_python(source: str) -> Iterator[Paragraph]:
    """Docstrings, also those of attributes, and comments. Doctests and indented blocks are no prose."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from _of_docstring(text, node.lineno)
    gathered: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row, column = token.start
        if gathered and (row != last + 1 or (not token.line[:column].isspace() and column)):
            yield Paragraph(begin, " ".join(gathered))
            gathered = []
        begin, last = (begin if gathered else row), row
        gathered.append(token.string.lstrip("#: "))
    if gathered:
        yield Paragraph(begin, " ".join(gathered))


def _of_docstring(text: str, line: Line) -> Iterator[Paragraph]:
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").splitlines()
        is_indented = len(lines) > 1 and bool(re.search(r"\S {3,}\S", block))
        if not is_indented:
            for item in re.split(r"\n\s*[-*] ", block):
                yield Paragraph(line, " ".join(item.split()))
        line += block.count("\n") + 2


def sentences(text: str) -> Iterator[str]:
    """The sentences of a paragraph, without the targets of links. Code counts as one word."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    plain = re.sub(r"`[^`]*`", "CODE", plain)
    yield from (part for part in _END_OF_SENTENCE.split(plain) if part.strip())


def words(sentence: str) -> int:
    return len(re.findall(r"\w[\w'’.,/·-]*", sentence))


def files(root: Path, *patterns: str, leave_out: tuple[str, ...] = ()) -> list[Path]:
    """The project's files of these patterns, without data and what is installed."""
    skipped = {".venv", "var", "site", "build", "dist", "node_modules", "cases", "_build", "deps", *leave_out}
    found = {path for pattern in patterns for path in root.rglob(pattern)}
    return sorted(path for path in found if not skipped & set(path.relative_to(root).parts))


def lines_of_prose(text: str) -> Iterator[tuple[Line, str]]:
    """The lines of Markdown that are neither code, nor a table, nor a comment."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if _FENCE.match(line):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith(("|", "<!--")):
            yield number, line
