"""The stages of a start on the terminal: a spinner while one runs, a line when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Stage:
    """What a running stage may say of itself: `now` while it works, `result` for the line that remains."""

    def __init__(self, console: Console, title: str, status: Status) -> None:
        self.result = ""
        self._console = console
        self._title = title
        self._status = status

    def now(self, text: str) -> None:
        self._status.update(f"{self._title}  [dim]{escape(text)}[/dim]")

    def line(self, text: str) -> None:
        """A line of its own that remains."""
        self._console.print(f"    {escape(text)}", highlight=False)


@contextmanager
def stage(console: Console, title: str) -> Iterator[Stage]:
    started = time.monotonic()
    with console.status(title) as status:
        running = Stage(console, title, status)
        try:
            yield running
        except BaseException:
            console.print(f"[red]✗[/red] {title}", highlight=False)
            raise
    took = time.monotonic() - started
    console.print(f"[green]✓[/green] {title}  {escape(running.result)} [dim]{took:.1f} s[/dim]", highlight=False)
