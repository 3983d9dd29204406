"""Loads config files for the other commands, and provides `rag config check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.errors import CliError

if TYPE_CHECKING:
    from serve_app.config.file import ConfigFile

LOCAL_CONFIG = Path(__file__).parents[2] / "cluster" / "local.yaml"
"""The default config file: it runs everything on one machine, without a GPU."""

app = typer.Typer(help="Config files.", no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def _group() -> None:
    """Without this callback, Typer would make `check` the whole of `rag config`."""


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Config files to check.")]) -> None:
    """Check config files for unknown keys and for settings that do not fit together.

    Each problem is printed with its field and the remedy. The exit code is 1 if there is any problem.
    """
    # Imported here and below, because these imports are slow and most commands do not need them.
    from serve_app.config.file import load
    from serve_app.config.problems import ConfigError

    has_problems = False
    for path in files:
        try:
            load(path)
            typer.echo(f"{path}: ok")
        except ConfigError as error:
            has_problems = True
            for problem in error.problems:
                typer.echo(f"{path}: {problem}", err=True)
    if has_problems:
        raise typer.Exit(1)


def load_config(path: Path, data_dir: Path | None = None) -> ConfigFile:
    """Load and check a config file. `data_dir`, unless None, replaces the data folder that the file names.

    Raises CliError, with all of the file's problems, if the file is not valid.
    """
    from serve_app.config.file import load
    from serve_app.config.problems import ConfigError

    try:
        file = load(path)
    except ConfigError as error:
        raise CliError(f"{path} is refused:\n" + "\n".join(f"  {line}" for line in error.problems)) from None
    return file if data_dir is None else file.with_data_dir(data_dir.resolve())
