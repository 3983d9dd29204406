"""`rag`: the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from rag.cli.commands import Commands

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
        from importlib.metadata import version

        print(f"rag {version('rag-serve')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...
