from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.ingestion.parsers.limits import Limits


@pytest.fixture
def limits() -> Limits:
    return Limits(text_characters=1_000_000, inflation=100, pages=100)


@pytest.fixture
def case() -> Callable[[str], bytes]:
    """Reads a document that was once parsed wrongly."""
    return lambda name: (Path(__file__).parent / "cases" / name).read_bytes()
