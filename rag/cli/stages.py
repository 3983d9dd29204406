"""The stages of a start on the terminal: a spinner while one runs, a line when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from rag.cli.errors import CliError

NOTE_EVERY_S = 60.0
"""A log, which has no spinner, gets a line this often with what a slow stage is doing."""


class Stage:
    """A running stage. `result` is shown on its line when it ends."""

    def __init__(self, console: Console, title: str, status: Status) -> None:
        self.result = ""
        self._console = console
        self._title = title
        self._status = status
        self._noted_at = time.monotonic()

    def now(self, text: str) -> None:
        """Show what the stage is doing, until the next call."""
        self._status.update(f"{self._title}  [dim]{escape(text)}[/dim]")
        if not self._console.is_terminal and time.monotonic() - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = time.monotonic()
            self.line(text)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(f"    {escape(text)}", highlight=False)


@contextmanager
def stage(console: Console, title: str) -> Iterator[Stage]:
    """Show a stage. An error inside becomes a CliError that names it."""
    started = time.monotonic()
    try:
        with console.status(title) as status:
            running = Stage(console, title, status)
            yield running
    except Exception as error:
        console.print(f"[red]✗[/red] {title}", highlight=False)
        if isinstance(error, CliError):
            raise
        raise CliError(f"{title}: {str(error) or type(error).__name__}") from error
    took = time.monotonic() - started
    console.print(f"[green]✓[/green] {title}  {escape(running.result)} [dim]{took:.1f} s[/dim]", highlight=False)
