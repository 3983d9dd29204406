from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop

from deployments.types import GenerationRequest, Message, Passage


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Serve's replicas run on uvloop, whose transports are of other classes than asyncio's."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if item.path.name == "test_channel.py" else loops


@pytest.fixture
def passage() -> Callable[..., Passage]:
    def make(text: str, *, number: int = 1, title: str = "", language: Any = "hr") -> Passage:
        return Passage(
            id=f"p{number}",
            document_id=f"d{number}",
            version="1",
            tenant_id="t",
            owner="",
            collection="c",
            language=language,
            position=0,
            title=title,
            text=text,
        )

    return make


@pytest.fixture
def request_for() -> Callable[..., GenerationRequest]:
    def make(question: str = "a b c", **fields: Any) -> GenerationRequest:
        defaults: dict[str, Any] = {
            "query_id": "q",
            "tenant_id": "t",
            "language": "hr",
            "question": question,
            "messages": (Message("system", "one two"), Message("user", "three")),
            "passages": (),
            "max_tokens": 512,
        }
        return GenerationRequest(**defaults | fields)

    return make
