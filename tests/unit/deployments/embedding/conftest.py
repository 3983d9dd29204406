from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.embedding.base import Embedder, create
from deployments.embedding.config import EmbeddingConfig
from deployments.inference.bundled import E5, MINILM
from deployments.inference.weights import locate


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """In float32, so that what is equal on paper is equal to five digits on every machine."""
    return create(EmbeddingConfig(model=MINILM, dtype="float32", int8_weights=False))


@pytest.fixture(scope="session")
def e5() -> Embedder:
    return create(EmbeddingConfig(model=E5, dtype="float32", int8_weights=False))


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """A folder with the bundled model whose own configuration names these prompts."""

    def make(prompts: dict[str, str]) -> Path:
        bundled, folder = locate(MINILM, None, "test"), tmp_path / "prompted-minilm"
        folder.mkdir()
        for file in bundled.iterdir():
            (folder / file.name).symlink_to(file)
        config = folder / "config_sentence_transformers.json"
        config.unlink()
        config.write_text(json.dumps({"prompts": prompts}))
        return folder

    return make
