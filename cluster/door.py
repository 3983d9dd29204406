"""The name that deployed configurations use for `cluster.edge.http`."""

from __future__ import annotations

from cluster.edge.http import middlewares

__all__ = ["middlewares"]
