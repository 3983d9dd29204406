"""Finds a model's files on this machine. Nothing here uses the network: `rag models pull` downloads models."""

from __future__ import annotations

from pathlib import Path

from deployments.errors import StageUnavailable
from deployments.inference.bundled import E5, bundled_folder, is_bundled


def locate(model: str, revision: str | None, field: str) -> Path:
    """The folder with the files of `model`: a bundled model's name, a local folder, or a hub id in the local cache.

    Raises StageUnavailable, naming the configuration's `field`, if the files are not on this machine.
    """
    if (bundled := bundled_folder(model, field)) is not None:
        return bundled
    if (folder := Path(model).expanduser()).is_dir():
        return folder
    return _cached_folder(model, revision, field)


def is_here(model: str) -> bool:
    """Whether a model needs no cache: it is bundled, or a local folder."""
    return is_bundled(model) or Path(model).expanduser().is_dir()


def display_name(model: str) -> str:
    """A model's name as callers may see it: a local folder shows only its last part."""
    folder = Path(model).expanduser()
    return folder.absolute().name if folder.is_dir() else model


def _cached_folder(model: str, revision: str | None, field: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = f"{model!r} (revision {revision})" if revision else f"{model!r}"
    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise StageUnavailable(f"{field} {wanted} is neither a folder on this machine nor a hub id") from error
    except LocalEntryNotFoundError as error:
        raise StageUnavailable(
            f"{field} {wanted} is not in the local model cache; download it with `rag models pull`, "
            f"or set {field} to the bundled {E5!r}"
        ) from error
