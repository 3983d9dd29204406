"""The benchmark's own documents and questions: Croatian outside law, and questions in the other language than their
document. Each question has one right document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag.cli.local_files import LocalFile
from rag.evaluation.measures import Measured, ranked_labels
from rag.evaluation.questions import Question, read_questions
from rag.evaluation.run import Run

FOLDER = Path(__file__).parent / "questions"
COLLECTIONS = ("outside_law", "cross_language")


def documents_of(collection: str) -> list[LocalFile]:
    return [LocalFile(path, path.name) for path in sorted((FOLDER / collection / "documents").glob("*.md"))]


def questions_of(collection: str) -> list[Question]:
    return read_questions(FOLDER / collection / "questions.jsonl")


def right_first(run: Run) -> int:
    """Of how many questions the first passage found is of the right document."""
    return sum(_rank(one) == 1 for one in run.measured)


def misses(run: Run) -> Iterator[str]:
    """A line for each question whose right document is not first: what is first, and where among the documents the
    right one is."""
    for one in run.measured:
        rank = _rank(one)
        if rank != 1:
            first = next(iter(ranked_labels(one.question, one.reply)), "nothing")
            place = f"is number {rank}" if rank else "was not found"
            failure = f" ({one.reply.failure})" if one.reply.failure else ""
            yield f"{one.question.id} {one.question.text!r}: {first} first, {_right(one)} {place}{failure}"


def _rank(one: Measured) -> int | None:
    """Of the right document among the documents found, from 1."""
    ranked = ranked_labels(one.question, one.reply)
    return ranked.index(_right(one)) + 1 if _right(one) in ranked else None


def _right(one: Measured) -> str:
    [gold] = one.question.gold
    return str(gold)
