from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
