from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.bridge import Commands, served


@dataclass
class Upstream:
    """A service whose commands do what a test's requests ask for."""

    url: str = ""
    commands: Commands = field(default_factory=Commands)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.commands.app()(scope, receive, send)


@pytest.fixture(name="_upstream", scope="module")
def _serving() -> Iterator[Upstream]:
    upstream = Upstream()
    with served(upstream) as upstream.url:
        yield upstream


@pytest.fixture(name="upstream")
def _fresh(_upstream: Upstream) -> Upstream:
    _upstream.commands = Commands()
    return _upstream
