from __future__ import annotations

import typer


class CliError(typer.TyperException):
    """Ends a command with one line on stderr and exit code 1."""
