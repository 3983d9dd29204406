from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class CliError(Exception):
    """Ends a command with its message on stderr and exit code 1."""


class Commands(TyperGroup):
    """A group whose commands may raise CliError."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None
