"""`rag top`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from rag.cli.errors import CliError
from rag.cli.exposition import Change, Look
from rag.cli.service import DATA_DIR, DataDir, Key, Refused, Service, Url, connect, plain

WINDOW = 6
"""Looks that a rate is taken over: Ray exports every 10 s, so two looks may see the same numbers."""


def top(
    context: typer.Context,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 5,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print once, and end.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Show what the service does now, until Ctrl-C. Needs a platform key.

    Rates and times are those of the last half minute. Metrics are up to ten seconds old.
    """
    console = Console()
    with connect(context, url, key, data_dir) as service:
        looks = [_look(service)]
        if once:
            time.sleep(every)
            console.print(_view(service, Change(looks[0], _look(service))))
            return
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            try:
                while True:
                    live.update(_view(service, Change(looks[0], looks[-1])), refresh=True)
                    time.sleep(every)
                    looks = [*looks, _look(service)][-WINDOW:]
            except KeyboardInterrupt:
                return


def _look(service: Service) -> Look:
    with service.reachable():
        response = service.http.get("/metrics")
    try:
        service.check(response)
    except Refused as refused:
        if refused.status in (401, 403):
            raise CliError(f"{refused}; rag keys create --role platform makes a platform key") from None
        raise
    try:
        return Look.of(response.text, time.monotonic())
    except ValueError:
        raise CliError(f"{service.url} answered something that are no metrics; check --url") from None


def _view(service: Service, change: Change) -> Group:
    with service.reachable():
        ready = service.http.get("/readyz").json()
    return Group(
        f"[bold]{escape(service.url)}[/bold]  {time.strftime('%H:%M:%S')}",
        "",
        _figures(change),
        "",
        _stages(change, ready),
    )


def _figures(change: Change) -> Table:
    now = change.after
    first = [change.quantile(share, "ray_rag_first_token_seconds") for share in (0.5, 0.95)]
    failed = sum(change.rate("ray_rag_requests_total", status=status) for status in _failures(now))
    rows = {
        "requests": f"{change.rate('ray_rag_requests_total'):.1f}/s, {failed:.1f}/s of them with 5xx",
        "answers": f"{change.rate('ray_rag_questions_total'):.1f}/s",
        "first text": f"p50 {_duration(first[0])}, p95 {_duration(first[1])}",
        "slots": f"{now.total('ray_rag_slots_used'):.0f} of {now.total('ray_rag_slots'):.0f} in use, "
        f"{now.total('ray_rag_slots_waited_for'):.0f} questions wait",
        "documents": f"{change.rate('ray_rag_documents_total'):.1f}/s, {_waiting(now):,.0f} wait, "
        f"the oldest for {_duration(now.most('ray_rag_ingestion_lag_seconds'))}",
        "webhooks": f"{now.most('ray_rag_webhooks_waiting'):.0f} wait",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(f"[dim]{name}[/dim]", text)
    return table


def _failures(look: Look) -> list[str]:
    return [status for status in look.names("ray_rag_requests_total", "status") if status.startswith("5")]


def _waiting(look: Look) -> float:
    """Each ingress replica tells of the whole service."""
    name = "ray_rag_documents_waiting"
    return sum(look.most(name, tenant_class=each) for each in look.names(name, "tenant_class"))


def _stages(change: Change, ready: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", no_wrap=True)
    for column in ("replicas", "calls/s", "wait", "work", "queued"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("what is wrong", overflow="fold")
    for name, stage in ready["stages"].items():
        table.add_row(
            escape(plain(name)),
            str(stage["replicas"]),
            f"{change.rate('ray_rag_stage_service_seconds_count', stage=name):.1f}",
            _duration(change.mean("ray_rag_stage_queue_seconds", stage=name)),
            _duration(change.mean("ray_rag_stage_service_seconds", stage=name)),
            f"{change.after.total('ray_serve_deployment_queued_queries', deployment=name):.0f}",
            "" if stage["ready"] else f"[red]{escape(plain(str(stage['detail'] or 'not ready')))}[/red]",
        )
    return table


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds * 1_000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
    )
