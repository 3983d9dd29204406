"""Documents, docstrings and comments are short, plain and complete: length of sentences and lines, links, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rag.cli.main import app
from tests.support import prose

ROOT = Path(__file__).parents[2]
MARKDOWN = prose.files(ROOT, "*.md", leave_out=("corpus", "documents"))
"""Without the corpus and the documents of benchmarks: they are data, and tests rely on their words."""
PYTHON = prose.files(ROOT, "*.py")
MAX_WORDS = 35
MAX_COLUMNS = 100
MAX_README_LINES = 130
RIDDLES = re.compile(
    r"\b(who (wants|had|asks|stores|chooses|listens)|whoever|what(ever)? is left|whatever happens"
    r"|(nobody|everybody|anybody|somebody) else(['’]s)?|at the door)\b",
    re.IGNORECASE,
)


@cache
def paragraphs() -> list[tuple[str, str]]:
    """(where it is, its text) of each paragraph."""
    found = []
    for path in (*MARKDOWN, *PYTHON):
        text = path.read_text("utf-8")
        in_file = prose.of_markdown(text) if path.suffix == ".md" else prose.of_python(text)
        found += [(f"{path.relative_to(ROOT)}:{line}", paragraph) for line, paragraph in in_file]
    return found


def test_no_sentence_has_more_words_than_a_reader_can_hold() -> None:
    counted = [
        (place, prose.words(sentence), sentence) for place, text in paragraphs() for sentence in prose.sentences(text)
    ]
    assert len(counted) > 5_000
    too_long = [f"{place}: {count} words: {sentence}" for place, count, sentence in counted if count > MAX_WORDS]
    assert not too_long, "\n".join(too_long)


def test_no_sentence_is_a_riddle() -> None:
    this = str(Path(__file__).relative_to(ROOT))
    found = [f"{place}: {text}" for place, text in paragraphs() if RIDDLES.search(text) and not place.startswith(this)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_riddle"),
    [("Places that who wants more leaves to others", True), ("Whoever asks is told", True), ("The user asks", False)],
)
def test_the_riddles_are_told_from_plain_words(text: str, is_riddle: bool) -> None:
    assert bool(RIDDLES.search(text)) == is_riddle


def test_prose_in_markdown_is_wrapped() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for path in MARKDOWN
        for number, line in prose.lines_of_prose(path.read_text("utf-8"))
        if len(line) > MAX_COLUMNS and "://" not in line
    ]
    assert not too_long, "\n".join(too_long)


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_each_decision_is_listed_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text("utf-8")
    pages = sorted(folder.glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text("utf-8")
        assert f"]({page.name})" in index
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert all(f"\n## {part}\n" in text for part in ("Context", "Decision")), page.name


BENCHMARKS = sorted((ROOT / "docs" / "benchmarks").glob("*.md"))
NOT_A_MODULE = {"checks", "embedding_gpu"}
"""Pages on figures that no module of `benchmarks` measures."""
RUN_BY_BENCHMARKS = {"chat_client", "host", "load"}
"""Modules that benchmarks start as processes of their own."""


@cache
def rows_of_benchmarks() -> dict[str, list[list[str]]]:
    """Page of `docs/benchmarks`, without `.md` → the cells of each of its rows in the summary."""
    found: dict[str, list[list[str]]] = {}
    for line in (ROOT / "BENCHMARKS.md").read_text("utf-8").splitlines():
        if page := re.search(r"\| \[(\w+)\]\(docs/benchmarks/(\w+)\.md\) \|$", line):
            assert page[1] == page[2], line
            found.setdefault(page[1], []).append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_each_benchmark_has_a_page_and_rows_in_the_summary() -> None:
    starts = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")}
    pages = {page.stem for page in BENCHMARKS}
    assert pages == (starts - RUN_BY_BENCHMARKS) | NOT_A_MODULE
    assert rows_of_benchmarks().keys() == pages


@pytest.mark.parametrize("page", BENCHMARKS, ids=lambda page: str(page.stem))
def test_the_summary_of_benchmarks_says_what_the_page_says(page: Path) -> None:
    """Names of figures, goals and what was measured stand on the page too, letter for letter."""
    text = page.read_text("utf-8")
    numbers = re.compile(r"(?<![\w.])[−-]?\d+(?:[.,]\d+)*")
    on_page = set(numbers.findall(text))
    for figure, goal, measured, _machine, _date, _page in rows_of_benchmarks()[page.stem]:
        names = re.findall(r"`[^`]+`", figure)
        assert [name for name in names if name not in text] == []
        in_row = set(numbers.findall(f"{figure} {goal} {measured}"))
        assert in_row - on_page == set(), figure


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where it is, its words) of each `rag` command in a document's code blocks."""
    for path in MARKDOWN:
        for block in re.findall(r"^```sh\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:.*\| )?rag (?P<rest>.+)", line):
                    yield str(path.relative_to(ROOT)), shlex.split(found["rest"], comments=True)


def test_commands_in_documents_exist_with_their_options() -> None:
    """Only their parsing is tried: the first word is a command, and each option is one of its own."""
    seen = 0
    for place, words in commands():
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "get_command") and (inner := command.get_command(None, words[0])):
            command = inner
            words.pop(0)
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert not hasattr(command, "get_command"), f"{place}: there is no command {words}"
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known, f"{place}: {options - known}"
        seen += 1
    assert seen > 10
