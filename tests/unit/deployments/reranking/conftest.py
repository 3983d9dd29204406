from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.models import save_random


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny random model, made from its class and configuration, beside the bundled model's tokenizer."""
    return partial(save_random, tmp_path / "tiny")
