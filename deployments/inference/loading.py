"""Loading of torch models, with the same checks and errors in every stage, and how many threads their passes take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from deployments.errors import StageUnavailable
from deployments.inference.weights import locate

T = TypeVar("T")


class ModelConfig(Protocol):
    """The fields of a stage's configuration that name its model and where it runs."""

    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...


def load(stage: str, config: ModelConfig, build: Callable[[Path], T]) -> T:
    """What `build` makes from the folder with the configured model's files.

    Raises StageUnavailable, naming the field of `stage`'s configuration, if the device or the files are missing or
    cannot be used.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise StageUnavailable(f"{stage}.device is cuda, but this node has no usable GPU; set it to cpu")
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = locate(config.model, config.revision, f"{stage}.model")
    try:
        return build(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StageUnavailable(
            f"{stage}.model {config.model!r} cannot be loaded", internal=f"from {folder}: {error}"
        ) from error


def parallelism(device: str) -> tuple[int, int]:
    """(forward passes that should run at once, CPU threads of each).

    On CPUs there are as many passes as threads, each on one. A pass on all threads would wait for the slowest of them
    at each of its hundreds of operations.
    """
    threads = torch.get_num_threads()
    return (threads, 1) if device == "cpu" else (1, threads)


def use_threads(count: int) -> None:
    """From now on the calling thread's passes use `count` CPU threads."""
    torch.get_num_threads()  # a thread's first call takes over what another thread set last, so it must come first
    torch.set_num_threads(count)
