"""Chooses the engine that this machine can run, without using the network or importing an engine."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from deployments.generation.config import GenerationConfig

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_SINGLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "consolidated.safetensors")
_WEIGHT_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def resolve(config: GenerationConfig) -> GenerationConfig:
    """The configuration with engine `auto` resolved; any other engine stays.

    `auto` becomes vLLM, from local files only, if it is installed and the model's weights are on this machine. Else it
    becomes the extractive engine.
    """
    if config.engine != "auto":
        return config
    if vllm_installed() and weights_available(config.model, config.revision):
        return config.model_copy(update={"engine": "vllm", "local_files_only": True})
    return config.model_copy(update={"engine": "extractive"})


def vllm_installed() -> bool:
    return importlib.util.find_spec("vllm") is not None


def weights_available(model: str, revision: str | None = None) -> bool:
    """Whether a model can be loaded without a download, from a local folder or the Hugging Face cache.

    Its configuration, a tokenizer and all weight files must be there, so an interrupted download does not count.
    """
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError):  # ValueError: not a hub id, such as a missing path
            return False
    has_tokenizer = any((folder / name).is_file() for name in _TOKENIZER_FILES)
    return (folder / "config.json").is_file() and has_tokenizer and _has_weights(folder)


def _has_weights(folder: Path) -> bool:
    if any((folder / name).is_file() for name in _SINGLE_WEIGHTS):
        return True
    indexes = [folder / name for name in _WEIGHT_INDEXES if (folder / name).is_file()]
    return any(_has_shards(index) for index in indexes)


def _has_shards(index: Path) -> bool:
    """Whether every weight file that an index names is in its folder."""
    try:
        content: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        shards = set(content["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return False
    return bool(shards) and all((index.parent / shard).is_file() for shard in shards)
