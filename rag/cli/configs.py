"""Config files as the commands take them; `rag config check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.errors import CliError

if TYPE_CHECKING:
    from serve_app.config.file import ConfigFile

LOCAL_CONFIG = Path(__file__).parents[2] / "cluster" / "local.yaml"

app = typer.Typer(help="Config files.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own."""


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Config files to check.")]) -> None:
    """Refuse unknown keys and impossible combinations, each with the field and the remedy."""
    from serve_app.config.file import load
    from serve_app.config.problems import ConfigError

    refused = False
    for path in files:
        try:
            load(path)
            typer.echo(f"{path}: ok")
        except ConfigError as error:
            refused = True
            for problem in error.problems:
                typer.echo(f"{path}: {problem}", err=True)
    if refused:
        raise typer.Exit(1)


def checked(path: Path, data_dir: Path | None = None) -> ConfigFile:
    """The checked file; with `data_dir`, that is its data folder. Raises CliError."""
    from serve_app.config.file import load
    from serve_app.config.problems import ConfigError

    try:
        file = load(path)
    except ConfigError as error:
        raise CliError(f"{path} is refused:\n" + "\n".join(f"  {line}" for line in error.problems)) from None
    return file if data_dir is None else file.with_data_dir(data_dir.resolve())
