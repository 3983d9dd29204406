"""What is written down of an evaluation: one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rag.evaluation.asking import Source
from rag.evaluation.figures import Difference, Figure, differences, figures, question_differences
from rag.evaluation.measures import Measured, ranked_labels
from rag.evaluation.run import Run

RANKS_SHOWN = 10


def report(runs: Sequence[Run]) -> dict[str, Any]:
    """The report as JSON.

    `configurations`: each with its figures and failures. `differences`: of the second from the first, if there are two.
    `questions`: each with the sources, answers and figures of every configuration.
    """
    body: dict[str, Any] = {"configurations": [_configuration(run) for run in runs]}
    if len(runs) == 2:
        found = differences(runs[0].measured, runs[1].measured)
        body["differences"] = {name: _plain(difference) for name, difference in found.items()}
    body["questions"] = [_question(replies) for replies in zip(*(run.measured for run in runs), strict=True)]
    return body


def _configuration(run: Run) -> dict[str, Any]:
    return {
        "name": run.configuration.name,
        "fields": dict(run.configuration.fields),
        "figures": {name: _plain(figure) for name, figure in figures(run.measured).items()},
        "failures": {one.question.id: one.reply.failure for one in run.failures},
    }


def _question(replies: Sequence[Measured]) -> dict[str, Any]:
    question = replies[0].question
    body: dict[str, Any] = {
        "id": question.id,
        "query": question.text,
        "gold": [str(gold) for gold in question.gold],
        "key_facts": list(question.key_facts),
        "answerable": question.answerable,
        "replies": [_reply(reply) for reply in replies],
    }
    if len(replies) == 2:
        body["differences"] = question_differences(*replies)
    return body


def _reply(measured: Measured) -> dict[str, Any]:
    reply = measured.reply
    body: dict[str, Any] = {
        "measures": dict(measured.values),
        "ranked": ranked_labels(measured.question, reply)[:RANKS_SHOWN],
        "failure": reply.failure,
    }
    if reply.answer is not None:
        body |= {
            "answer": reply.answer.text,
            "sources": [_source(source) for source in reply.answer.sources],
            "citations": [list(citation) for citation in reply.answer.citations],
            "finish_reason": reply.answer.finish_reason,
            "confidence": reply.answer.confidence,
        }
    return body


def _source(source: Source) -> dict[str, Any]:
    return {
        "id": source.id,
        "document_id": source.at.document_id,
        "article": source.at.article,
        "headings": list(source.at.headings),
        "title": source.title,
    }


def _plain(figure: Figure | Difference) -> Mapping[str, float | None]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(figure).items()
    }
