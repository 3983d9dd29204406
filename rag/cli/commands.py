"""The commands by name. The module of one is imported when it is run or described, so that the small ones start at
once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from rag.cli.errors import CliError

_COMMANDS = {
    "up": "rag.cli.up:up",
    "ask": "rag.cli.ask:ask",
    "search": "rag.cli.ask:search",
    "ingest": "rag.cli.ingest:ingest",
    "eval": "rag.cli.evaluate:evaluate",
    "reindex": "rag.cli.reindex:reindex",
    "status": "rag.cli.status:status",
    "top": "rag.cli.top:top",
    "trace": "rag.cli.trace:trace",
    "bridge": "rag.cli.bridge:bridge",
    "models": "rag.cli.models:app",
    "keys": "rag.cli.keys:app",
    "config": "rag.cli.configs:app",
}
"""Where each is: a function, or the app of a group."""


class Commands(TyperGroup):
    """A group whose commands may raise CliError. `--mode service` in place of a command is an alias of `bridge`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        where = _COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            app = found
        else:
            app = typer.Typer(rich_markup_mode=None, add_completion=False)
            app.command()(found)
        command = get_command(app)
        command.name = cmd_name
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:2] == ["--mode", "service"]:
            args = ["bridge", *args[2:]]
        elif args[:1] == ["--mode=service"]:
            args = ["bridge", *args[1:]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None
