"""Ray reads its flags when it is imported, so they are set before any test module is. So is the folder that hypothesis
would otherwise make beside the checkout's own.

A process keeps the token that it used first, so all nodes of a test run share one, those of xdist's workers too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from cluster import node

node.set_flags()
_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_FOLDER = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent if _IS_WORKER else Path(tempfile.mkdtemp(prefix="rag-tests-"))
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_FOLDER / "ray-token")
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(_FOLDER / "hypothesis")
node.read_or_make_secret(_FOLDER / "ray-token")
# How long an example takes says more about the machine than about the code. The same examples each time: a change must
# not be refused by luck. `make bench NAME=isolation` and `NAME=contract` draw others.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


_TESTS = Path(__file__).parent
_SHARED_SERVICES = ("extractive", "vllm")
"""Folders of end-to-end tests whose modules share a service."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """A test's group is its folder: unit, integration or e2e."""
    for item in items:
        item.add_marker(item.path.relative_to(_TESTS).parts[0])


class _ByService(LoadScopeScheduling):
    """What one process runs without a break: all modules that share a service, or one module."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return str(path.parent if path.parent.name in _SHARED_SERVICES else path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByService | None:
    return _ByService(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_unconfigure() -> None:
    if not _IS_WORKER:
        shutil.rmtree(_FOLDER, ignore_errors=True)
