"""A short name for a vector space: the same on every machine that has the same model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

_DESCRIPTION_FILES = (
    "modules.json", "config.json", "sentence_bert_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "sentencepiece.bpe.model", "spiece.model",
)  # fmt: skip
_SAMPLES = 64
_SAMPLE_BYTES = 65_536


def fingerprint(folder: Path, *settings: object) -> str:
    """Sixteen hexadecimal digits for a model's files and the settings that shape its vectors.

    Weights may have gigabytes, so only their size and 64 evenly spread samples of 64 KiB are read. A fine-tuned
    sibling differs in nearly every tensor. Path, device and number format do not count.
    """
    digest = hashlib.sha256(json.dumps(settings, ensure_ascii=False).encode())
    for file in _files(folder):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        for content in _samples(file) if _is_weights(file) else (file.read_bytes(),):
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    """The files that make up the model, in a fixed order. A hub folder may hold others (read-me, ONNX copies)."""
    modules = folder / "modules.json"
    module_paths = [module["path"] for module in json.loads(modules.read_text("utf-8"))] if modules.is_file() else []
    for part in sorted({"", *module_paths}):
        descriptions = [file for name in _DESCRIPTION_FILES if (file := folder / part / name).is_file()]
        weights = sorted((folder / part).glob("*.safetensors")) or sorted((folder / part).glob("pytorch_model*.bin"))
        yield from descriptions
        yield from weights


def _is_weights(file: Path) -> bool:
    return file.suffix in {".safetensors", ".bin"}


def _samples(file: Path) -> Iterator[bytes]:
    """The file's size, then its samples."""
    size = file.stat().st_size
    yield str(size).encode()
    with file.open("rb") as stream:
        for sample in range(_SAMPLES):
            stream.seek(max(size - _SAMPLE_BYTES, 0) * sample // (_SAMPLES - 1))
            yield stream.read(_SAMPLE_BYTES)
