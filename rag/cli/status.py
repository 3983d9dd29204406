"""`rag status`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, DataDir, Key, Refused, Service, Url, connect, plain


def status(context: typer.Context, url: Url = None, key: Key = None, data_dir: DataDir = DATA_DIR) -> None:
    """Show each stage, whether it is ready, and what serves it. Exit code 1 unless all are ready.

    With an admin key also how many documents are behind.
    """
    with connect(context, url, key, data_dir) as service:
        with service.reachable():
            response = service.http.get("/readyz")
        if response.status_code != 503:
            service.check(response)
        try:
            view = response.json()
            stages, ready = dict(view["stages"]), bool(view["ready"])
        except (ValueError, KeyError, TypeError):
            raise CliError(f"{service.url} answered something that is not this service's; check --url") from None
        documents = index_state(service) if ready else None
    table = Table(title=escape(service.url))
    for column in ("stage", "ready", *_FIELDS):
        table.add_column(column, overflow="fold")
    for name, stage in stages.items():
        mark = "[green]yes[/green]" if stage["ready"] else "[red]no[/red]"
        cells = [escape(plain(str(stage[field] if stage[field] is not None else ""))) for field in _FIELDS]
        table.add_row(name, mark, *cells)
    console = Console()
    console.print(table)
    if documents:
        console.print(documents, markup=False, highlight=False, soft_wrap=True)
    if not ready:
        raise typer.Exit(1)


def index_state(service: Service) -> str | None:
    """How many of the tenant's documents are behind, in a sentence; None without a key that may see it."""
    if "Authorization" not in service.http.headers:
        return None
    try:
        state = service.call("GET", "/v1/reindex")
    except Refused as refused:
        if refused.status in (400, 401, 403, 404):  # a query or platform key, or an earlier release
            return None
        raise
    model = plain(str(state["embedder"]["model"]))
    count = f"{state['documents']:,} documents, {state['passages']:,} passages"
    if state["job_id"]:
        return f"{count}; {state['behind']:,} are behind, and job {plain(state['job_id'])} reindexes them."
    if state["missing"]:
        return f"{count}, of which the index lacks {state['missing']:,}. Fill it again: rag reindex"
    if not state["behind"]:
        return f"{count}; all are of the embedder that runs, {model}."
    by_terms = "" if state["live_embedder"] == state["embedder"]["fingerprint"] else " Answers go by terms alone."
    return (
        f"{count}; {state['behind']:,} are behind: of another embedder than {model}, or cut otherwise.{by_terms} "
        "Index them again: rag reindex"
    )


_FIELDS = ("engine", "model", "replicas", "detail")
