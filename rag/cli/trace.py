"""`rag trace`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.telemetry.timings import MOMENTS
from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, DataDir, Key, Refused, Service, Url, connect, plain

WITHIN_S = 5.0
"""How long a question that has just ended may take to be in the log."""
_AGAIN_S = 0.1
_BAR = 30
"""Characters of the longest stage's bar."""


def trace(
    context: typer.Context,
    query_id: Annotated[
        str | None, typer.Argument(help="X-Query-ID of the question; by default that of the last one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's JSON.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Show how a question was answered, and how long each stage took."""
    with connect(context, url, key, data_dir) as service:
        logged = service.call("GET", f"/v1/queries/{query_id}") if query_id else _last(service)
        spans = _spans(service, logged["query_id"])
    if as_json:
        typer.echo(json.dumps({**logged, "spans": spans}, ensure_ascii=False, indent=2))
        return
    print_trace(Console(), logged)
    if spans:
        Console().print(_waterfall(spans))


def _spans(service: Service, query_id: str) -> list[dict[str, Any]]:
    """What its trace's files have of a question; none where spans go elsewhere, or it was not sampled."""
    try:
        spans: list[dict[str, Any]] = service.call("GET", f"/v1/queries/{query_id}/trace")["spans"]
    except Refused as error:
        if error.status != 404:
            raise
        return []
    return spans


def await_trace(service: Service, query_id: str) -> dict[str, Any]:
    """What the log has of a question that has just ended. It is there a little later. Raises CliError."""
    end = time.monotonic() + WITHIN_S
    while True:
        try:
            return service.call("GET", f"/v1/queries/{query_id}")
        except Refused as error:
            if error.status != 404 or time.monotonic() > end:
                raise
        time.sleep(_AGAIN_S)


def print_trace(console: Console, logged: Mapping[str, Any]) -> None:
    for line in _facts(logged):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    stages = {name: took for name, took in logged["timings"].items() if name not in MOMENTS}
    if stages:
        console.print(_table(stages))
    reached = [name for name in MOMENTS if name in logged["timings"]]
    if moments := ", ".join(f"{name} {logged['timings'][name]:,.1f} ms" for name in reached):
        console.print(f"From the start: {moments}.", markup=False, highlight=False)


def _last(service: Service) -> dict[str, Any]:
    listed: list[dict[str, Any]] = service.call("GET", "/v1/queries", params={"limit": 1})["queries"]
    if not listed:
        raise CliError("no question has ended yet; ask one: rag ask QUESTION")
    return listed[0]


def _facts(logged: Mapping[str, Any]) -> Iterator[str]:
    by = " ".join(plain(str(logged[name])) for name in ("engine", "model") if logged[name])
    yield f"{plain(logged['query_id'])}: {plain(logged['outcome'])}{f', by {by}' if by else ''}, {plain(logged['at'])}"
    ids = {"key": "key_id", "request": "request_id", "trace": "trace_id"}
    yield ", ".join(f"{what} {plain(logged[name]) or '(not kept)'}" for what, name in ids.items())
    yield (
        f"{logged['sources']} sources; tokens: {logged['prompt_tokens']:,} of the prompt "
        f"({logged['cached_tokens']:,} cached), {logged['completion_tokens']:,} of the answer"
    )
    if logged["degraded"]:
        yield f"without {', '.join(map(plain, logged['degraded']))}"


def _waterfall(spans: Sequence[Mapping[str, Any]]) -> Table:
    """A row a span: where it ran, when it began, how long it took, and both as a bar on the request's time."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("span", "in", "at ms", "ms", ""):
        table.add_column(column, justify="right" if column.endswith("ms") else "left", no_wrap=True)
    whole = max(span["start_ms"] + span["milliseconds"] for span in spans) or 1.0
    for span in spans:
        begin = round(max(0.0, span["start_ms"]) / whole * _BAR)
        bar = " " * begin + "█" * max(1, round(span["milliseconds"] / whole * _BAR))
        name = escape(plain("  " * span["depth"] + span["name"]))
        table.add_row(
            f"[red]{name}[/red]" if span["status"] == "error" else name,
            escape(plain(span["service"])),
            f"{span['start_ms']:,.1f}",
            f"{span['milliseconds']:,.1f}",
            bar,
        )
    return table


def _table(stages: Mapping[str, float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("")
    longest = max(stages.values()) or 1.0
    for name, took in stages.items():
        table.add_row(escape(plain(name)), f"{took:,.1f}", "█" * round(took / longest * _BAR))
    return table
