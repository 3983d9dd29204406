from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from deployments.embedding.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "1_Dense").mkdir(parents=True)
    modules = [{"idx": 0, "path": "", "type": "Transformer"}, {"idx": 1, "path": "1_Dense", "type": "Dense"}]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "config.json").write_text('{"hidden_size": 8}')
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").write_bytes(os.urandom(10_000_000))
    (model / "1_Dense" / "config.json").write_text('{"in_features": 8}')
    (model / "1_Dense" / "model.safetensors").write_bytes(os.urandom(1_000))
    return model


def test_it_can_be_part_of_a_collection_name(folder: Path) -> None:
    assert re.fullmatch(r"[a-z0-9]{12,16}", fingerprint(folder, "query: ", 384))


def test_the_same_model_elsewhere_has_the_same(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "another name")
    assert fingerprint(copy, "") == fingerprint(folder, "")


def test_files_that_do_not_shape_vectors_do_not_count(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "README.md").write_text("about")
    (folder / "pytorch_model.bin").write_bytes(b"the same weights in another format")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x")
    assert fingerprint(folder) == before


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "1_Dense/config.json"])
def test_every_description_counts(folder: Path, file: str) -> None:
    before = fingerprint(folder)
    (folder / file).write_text('{"other": 1}')
    assert fingerprint(folder) != before


@pytest.mark.parametrize("part", ["", "1_Dense"])
def test_the_weights_of_every_module_count(folder: Path, part: str) -> None:
    before = fingerprint(folder)
    weights = folder / part / "model.safetensors"
    weights.write_bytes(os.urandom(weights.stat().st_size))
    assert fingerprint(folder) != before


def test_settings_count(folder: Path) -> None:
    assert fingerprint(folder, {"query": "", "passage": ""}) != fingerprint(folder, {"query": "query: ", "passage": ""})
