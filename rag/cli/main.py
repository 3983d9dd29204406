"""`rag`: the command line. Each command imports what it needs when it runs, so that the small ones start at once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from rag.cli import configs, keys, models
from rag.cli.ask import ask, search
from rag.cli.bridge import bridge
from rag.cli.errors import Commands
from rag.cli.evaluate import evaluate
from rag.cli.ingest import ingest
from rag.cli.reindex import reindex
from rag.cli.status import status
from rag.cli.trace import trace
from rag.cli.up import up

app = typer.Typer(
    cls=Commands,
    help="Ask questions of your own documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"rag {version('rag-serve')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


app.command()(up)
app.command()(ask)
app.command()(search)
app.command()(ingest)
app.command("eval")(evaluate)
app.command()(reindex)
app.command()(status)
app.command()(trace)
app.command()(bridge)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(configs.app, name="config")
