"""A module names in SERVICE the function that starts the service its tests share, or starts services of its own.

A process is connected to one Ray at a time. So tests that share a service run one after the other in one process, and
the service ends when the first test that needs another one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

Start = Callable[[Path], AbstractContextManager[Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a service run one after the other."""
    items.sort(key=_service)
    for item in items:
        # A connection to a killed service is closed by the collector, in whatever test that runs next.
        item.add_marker(pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"))


def _service(item: pytest.Item) -> str:
    start = getattr(getattr(item, "module", None), "SERVICE", None)
    return "" if start is None else str(start.__name__)


class Services:
    """The service that runs now."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._start: Start | None = None
        self._current: Any = None
        self._stack = ExitStack()

    def get(self, start: Start | None) -> Any:
        """What a function gives, called unless it was the last one. None for None, and nothing runs then."""
        if start is not self._start:
            self.close()
            if start is not None:
                self._current = self._stack.enter_context(start(self._folders.mktemp(start.__name__)))
            self._start = start
        return self._current

    def close(self) -> None:
        self._start = self._current = None
        self._stack.close()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    made = Services(tmp_path_factory)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def shared(request: pytest.FixtureRequest, services: Services) -> Any:
    """What the module's SERVICE gives."""
    return services.get(getattr(request.module, "SERVICE", None))


@pytest.fixture(scope="session")
def elixir_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what mix builds, once."""
    return tmp_path_factory.mktemp("elixir")
