from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import pytest

from deployments.generation import availability
from deployments.generation.availability import resolve, vllm_installed, weights_available
from deployments.generation.config import GenerationConfig

Files = dict[str, str]

WHOLE: Files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "x"}
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
SHARDED: Files = {
    "config.json": "{}",
    "tokenizer.json": "{}",
    "model.safetensors.index.json": INDEX,
    "model-1.safetensors": "x",
    "model-2.safetensors": "x",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Files], Path]:
    def make(files: Files, at: str = "model") -> Path:
        path = tmp_path / at
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_text(content)
        return path

    return make


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], None]:
    """Put a snapshot of `org/model` into a Hugging Face cache of its own."""
    cache = tmp_path / "hub"
    cache.mkdir()
    real = huggingface_hub.snapshot_download

    def with_cache(*args: object, **kwargs: object) -> str:
        return str(real(*args, cache_dir=cache, **kwargs))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", with_cache)

    def put(files: Files) -> None:
        repository = cache / "models--org--model"
        snapshot = repository / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        for name, content in files.items():
            (snapshot / name).write_text(content)

    return put


@pytest.mark.parametrize("files", [WHOLE, SHARDED])
def test_a_whole_model_is_available(folder: Callable[[Files], Path], files: Files) -> None:
    assert weights_available(str(folder(files)))


@pytest.mark.parametrize(
    ("files", "missing"), [(WHOLE, name) for name in WHOLE] + [(SHARDED, name) for name in SHARDED]
)
def test_a_model_that_lacks_a_file_is_not(folder: Callable[[Files], Path], files: Files, missing: str) -> None:
    assert not weights_available(str(folder({name: text for name, text in files.items() if name != missing})))


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": [1]}'])
def test_a_broken_index_is_not_a_model(folder: Callable[[Files], Path], index: str) -> None:
    assert not weights_available(str(folder(SHARDED | {"model.safetensors.index.json": index})))


def test_a_snapshot_in_the_cache(cached: Callable[[Files], None]) -> None:
    assert not weights_available("org/model")
    cached(SHARDED)
    assert weights_available("org/model")
    assert weights_available("org/model", COMMIT)
    assert not weights_available("org/model", "v2")
    assert not weights_available("org/other")


def test_a_snapshot_whose_download_broke_off(cached: Callable[[Files], None]) -> None:
    cached({name: text for name, text in SHARDED.items() if name != "model-2.safetensors"})
    assert not weights_available("org/model")


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "../model", ""])
def test_a_name_that_is_no_model(cached: Callable[[Files], None], name: str) -> None:
    assert not weights_available(name)


@pytest.mark.parametrize(
    ("installed", "files", "engine"),
    [(True, WHOLE, "vllm"), (False, WHOLE, "extractive"), (True, {"config.json": "{}"}, "extractive")],
)
def test_auto_is_vllm_only_where_it_can_serve(
    monkeypatch: pytest.MonkeyPatch,
    folder: Callable[[Files], Path],
    installed: bool,
    files: Files,
    engine: str,
) -> None:
    monkeypatch.setattr(availability, "vllm_installed", lambda: installed)
    config = GenerationConfig(engine="auto", model=str(folder(files)), max_sentences=2)
    resolved = resolve(config)
    assert resolved.engine == engine
    assert resolved.local_files_only is (engine == "vllm")
    assert (resolved.model, resolved.max_sentences) == (config.model, 2)


@pytest.mark.parametrize("engine", ["vllm", "extractive", "fake"])
def test_an_engine_that_was_named_stays(engine: str) -> None:
    config = GenerationConfig.model_validate({"engine": engine, "model": "/no/such/folder"})
    assert resolve(config) is config


def test_looking_for_vllm_does_not_import_it() -> None:
    import sys

    before = "vllm" in sys.modules
    assert isinstance(vllm_installed(), bool)
    assert ("vllm" in sys.modules) is before
