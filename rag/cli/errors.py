from __future__ import annotations


class CliError(Exception):
    """Ends a command with its message on stderr and exit code 1."""
