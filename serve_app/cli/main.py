"""`rag`: the command line. Each command imports what it needs when it runs, so that the small ones start at once."""

from __future__ import annotations

import typer

from serve_app.cli import configs, keys, models
from serve_app.cli.ask import ask, search
from serve_app.cli.bridge import bridge
from serve_app.cli.errors import Commands
from serve_app.cli.ingest import ingest
from serve_app.cli.status import status
from serve_app.cli.up import up

app = typer.Typer(
    cls=Commands,
    help="Ask questions of your own documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up)
app.command()(ask)
app.command()(search)
app.command()(ingest)
app.command()(status)
app.command()(bridge)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(configs.app, name="config")
