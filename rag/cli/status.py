"""`rag status`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, DataDir, Url, connect, plain


def status(context: typer.Context, url: Url = None, data_dir: DataDir = DATA_DIR) -> None:
    """Show each stage, whether it is ready, and what serves it. Exit code 1 unless all are ready."""
    with connect(context, url, None, data_dir) as service:
        with service.reachable():
            response = service.http.get("/readyz")
        if response.status_code != 503:
            service.check(response)
        try:
            view = response.json()
            stages, ready = dict(view["stages"]), bool(view["ready"])
        except (ValueError, KeyError, TypeError):
            raise CliError(f"{service.url} answered something that is not this service's; check --url") from None
    table = Table(title=escape(service.url))
    for column in ("stage", "ready", *_FIELDS):
        table.add_column(column, overflow="fold")
    for name, stage in stages.items():
        mark = "[green]yes[/green]" if stage["ready"] else "[red]no[/red]"
        cells = [escape(plain(str(stage[field] if stage[field] is not None else ""))) for field in _FIELDS]
        table.add_row(name, mark, *cells)
    Console().print(table)
    if not ready:
        raise typer.Exit(1)


_FIELDS = ("engine", "model", "replicas", "detail")
