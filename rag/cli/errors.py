from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class CliError(Exception):
    """Ends a command with its message on stderr and exit code 1."""


class Commands(TyperGroup):
    """A group whose commands may raise CliError. `--mode service` in place of a command is an alias of `bridge`."""

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
