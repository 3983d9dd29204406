"""Serve without pandas: a third of the time of `import ray.serve`, and 40 MB in each of ten processes.

Serve imports pandas for one thing: to encode a data frame that a deployment returns over HTTP. Ours return none. A
module that needs pandas itself imports it as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_IMPORTER = "ray.serve._private.utils"
"""The one module of Serve that imports pandas. It goes on without, where pandas is not installed."""


def leave_pandas_out() -> None:
    """Keep pandas from what imports Serve in this process. Ray calls it in each worker: see `set_flags` in node.py."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _IMPORTER or "pandas" in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutPandas(spec.loader)
        return spec


class _WithoutPandas(Loader):
    """Runs a module as if pandas was not installed."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        sys.modules["pandas"] = None  # type: ignore[assignment]  # what makes an import fail
        try:
            self._loader.exec_module(module)
        finally:
            del sys.modules["pandas"]
