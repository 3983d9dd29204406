from __future__ import annotations

import pytest

from deployments.ingestion.parsers.limits import Limits


@pytest.fixture
def limits() -> Limits:
    return Limits(text_characters=1_000_000, inflation=100, pages=100)
