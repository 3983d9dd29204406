"""Kept for configurations whose RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it: see `cluster.edge.http`."""

from __future__ import annotations

from cluster.edge.http import middlewares

__all__ = ["middlewares"]
