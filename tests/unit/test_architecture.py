"""ARCHITECTURE.md is short, and true to the code: its paths exist, and each step of a life names functions of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
MAX_LINES = 140
MAX_MODULE_LINES = 450
REFERENCE = re.compile(r"((?:`[\w.]+`(?:\s+and)?\s+)+)in\s+`([\w/]+\.py)`")
"""One or two functions, and the module where they are."""


def test_it_is_read_in_five_minutes() -> None:
    assert len(TEXT.splitlines()) <= MAX_LINES


def references(step: str) -> list[tuple[str, Path]]:
    """(function, its module) of each function that a step names."""
    return [
        (name, ROOT / path) for names, path in REFERENCE.findall(step) for name in re.findall(r"[\w.]+(?=`)", names)
    ]


def steps(heading: str) -> list[str]:
    """The numbered items of a section."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. (?:.*\n)(?:   .*\n)*", section, re.MULTILINE)


def definitions(path: Path) -> set[str]:
    """The functions and classes of a module, methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
            names |= {f"{node.name}.{member.name}" for member in members}
    return names


@pytest.mark.parametrize(("heading", "count"), [("The life of a query", 11), ("The life of a document", 8)])
def test_each_step_names_functions_that_exist(heading: str, count: int) -> None:
    found = steps(heading)
    assert len(found) == count
    for step in found:
        assert references(step), f"names no function: {step}"
        missing = [name for name, path in references(step) if name not in definitions(path)]
        assert not missing, f"{missing} are not there: {step}"


@pytest.mark.parametrize(
    "document",
    ["ARCHITECTURE.md", "README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))],
)
def test_every_path_of_the_project_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    paths = set(re.findall(r"`((?:rag|serve_app|deployments|cluster|clients|tests|benchmarks)/[\w/.-]*)`", text))
    assert paths or document != "ARCHITECTURE.md"
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    rooms = (path for room in ("rag", "cluster", "serve_app", "deployments") for path in (ROOT / room).rglob("*.py"))
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in rooms}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}
