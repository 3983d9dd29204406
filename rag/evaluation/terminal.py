"""An evaluation as tables in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rag.evaluation.figures import Difference, differences, figures, question_differences
from rag.evaluation.run import Run
from rag.evaluation.wording import LABELS, interval, is_time, written

CHANGES_SHOWN = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RANKED_BY = ("ndcg@10", "facts_in_sources", "facts_in_answer", "answered", "refused")
"""By the first of these that differs, a question got better or worse."""


def show(console: Console, runs: Sequence[Run]) -> None:
    """The figures; with two configurations also their differences, and the questions that changed most."""
    console.print(_figures(runs))
    if len(runs) == 2:
        _show_changes(console, runs)
    for run in runs:
        for failed in run.failures[:CHANGES_SHOWN]:
            console.print(
                _text(f"{run.configuration.name}: {failed.question.id} failed: {failed.reply.failure}", "red")
            )


def _figures(runs: Sequence[Run]) -> Table:
    table = Table(title=f"{len(runs[0].measured)} questions", title_justify="left")
    table.add_column("")
    for run in runs:
        table.add_column(_text(run.configuration.name), justify="right", overflow="fold")
        table.add_column("95 %", style="dim")
    between = differences(runs[0].measured, runs[1].measured) if len(runs) == 2 else None
    if between is not None:
        table.add_column("difference", justify="right")
        table.add_column("95 %", style="dim")
    by_run = [figures(run.measured) for run in runs]
    for name in LABELS:
        if not any(name in found for found in by_run):
            continue
        row: list[str | Text] = [LABELS[name]]
        for found in by_run:
            figure = found.get(name)
            row += [written(name, figure.value), interval(name, figure.low, figure.high)] if figure else ["–", ""]
        if between is not None and (difference := between.get(name)):
            row += [_coloured(name, difference), interval(name, difference.low, difference.high, signed=True)]
        table.add_row(*row)
    return table


def _coloured(name: str, difference: Difference) -> Text:
    text = written(name, difference.value, signed=True)
    if not difference.is_clear:
        return Text(text)
    return Text(text, style="green" if (difference.value > 0) != is_time(name) else "red")


def _show_changes(console: Console, runs: Sequence[Run]) -> None:
    first, second = (run.measured for run in runs)
    changes: list[tuple[float, str, str, str]] = []
    for one, other in zip(first, second, strict=True):
        found = question_differences(one, other)
        for name in _RANKED_BY:
            if found.get(name):
                changes.append((found[name], name, one.question.id, one.question.text))
                break
    better = sum(change[0] > 0 for change in changes)
    same = len(first) - len(changes)
    console.print(f"Questions: {better} better, {len(changes) - better} worse, {same} the same")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for change, name, question_id, text in sorted(changes, key=lambda item: -abs(item[0]))[:CHANGES_SHOWN]:
        style = "green" if change > 0 else "red"
        table.add_row(
            Text(written(name, change, signed=True), style=style), LABELS[name], _text(question_id), _text(text)
        )
    console.print(table)


def _text(text: str, style: str = "") -> Text:
    """Text of others: neither markup nor control characters."""
    return Text(_CONTROL.sub(" ", text), style=style)
