from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.models import BUNDLED_MODEL, locate


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny random model, made from its class and configuration, beside the bundled model's tokenizer."""

    def save(model_class: Any, config: Any, max_tokens: int) -> Path:
        torch.manual_seed(7)
        folder = tmp_path / "tiny"
        model_class(config).save_pretrained(folder)
        bundled = locate(BUNDLED_MODEL, None, "test")
        for name in ("tokenizer.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(bundled / name, folder / name)
        tokenizer_config = json.loads((bundled / "tokenizer_config.json").read_text("utf-8"))
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config | {"model_max_length": max_tokens}))
        return folder

    return save
