"""Where a relative path of the configuration begins. Imports nothing, so that small commands stay quick."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]

HOME = _CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() else Path.cwd()
"""The checkout, or the working folder of an installed copy."""
