"""`rag status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, DataDir, Key, Refused, Service, Url, connect, plain


def status(context: typer.Context, url: Url = None, key: Key = None, data_dir: DataDir = DATA_DIR) -> None:
    """Show each stage, whether it is ready, and what serves it. Exit code 1 unless all are ready.

    With an admin key also how many documents are behind, and what waits to be removed.
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
        console = Console()
        console.print(_table(service.url, stages))
        if not ready:
            raise typer.Exit(1)
        if "Authorization" in service.http.headers:
            lines = [index_state(service), retention_state(service)]
        else:
            lines = ["With an admin key (--key, or RAG_API_KEY) also the documents are counted."]
        for line in filter(None, lines):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(url: str, stages: Mapping[str, Any]) -> Table:
    """The last column alone is broken into lines where a terminal is narrow, and only between words."""
    table = Table(box=None, padding=(0, 2, 0, 0), title=escape(url), title_justify="left", header_style="dim")
    for column in ("stage", "ready", "replicas"):
        table.add_column(column, no_wrap=True)
    table.add_column("what serves it", overflow="fold")
    for name, stage in stages.items():
        mark = "[green]yes[/green]" if stage["ready"] else "[red]no[/red]"
        served_by = (stage[field] for field in ("engine", "model", "detail"))
        served = " · ".join(escape(plain(str(part))) for part in served_by if part)
        table.add_row(name, mark, str(stage["replicas"]), served)
    return table


def index_state(service: Service) -> str | None:
    """How many of the tenant's documents are behind, in a sentence; None if the key may not see it.

    Raises Refused if the key is not valid.
    """
    try:
        state = service.call("GET", "/v1/reindex")
    except Refused as refused:
        if refused.status in (403, 404, 422):  # a query or platform key, or an earlier release
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


def retention_state(service: Service) -> str | None:
    """When was last removed what had been kept long enough, and what of it is still to go; None if the key may not see
    it."""
    try:
        state = service.call("GET", "/v1/retention")
    except Refused as refused:
        if refused.status in (403, 404):  # a query key, or an earlier release
            return None
        raise

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{count:,} {plain(name)}" for name, count in counts.items() if count) or "nothing"

    swept = f"Swept at {plain(state['swept_at'])}" if state["swept_at"] else "Not swept yet"
    removed = f", {listed(state['removed'])} removed" if state["removed"] else ""
    return f"{swept}{removed}; {listed(state['waiting'])} to be removed."
