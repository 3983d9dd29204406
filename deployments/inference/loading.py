"""A torch model from this machine's files: the same checks and the same errors for every stage that loads one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from deployments.errors import StageUnavailable
from deployments.inference.weights import locate

T = TypeVar("T")


class ModelConfig(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...


def load(stage: str, config: ModelConfig, make: Callable[[Path], T]) -> T:
    """What `make` builds from the folder that holds the configured model's files.

    Raises StageUnavailable, naming the field of `stage`'s configuration, if the device or the files are missing or
    cannot be used.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise StageUnavailable(f"{stage}.device is cuda, but this node has no usable GPU; set it to cpu")
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = locate(config.model, config.revision, f"{stage}.model")
    try:
        return make(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StageUnavailable(f"{stage}.model {config.model!r} cannot be loaded from {folder}: {error}") from error


def shared_threads(device: str) -> tuple[int, int]:
    """How many forward passes gain from running at the same time, and how many CPU threads each takes then.

    On CPUs as many passes as there are threads, each on one: a pass on all of them would wait for the slowest at each
    of its hundreds of operations.
    """
    threads = torch.get_num_threads()
    return (threads, 1) if device == "cpu" else (1, threads)


def use_threads(count: int) -> None:
    """From now on the calling thread's passes take so many CPU threads."""
    torch.get_num_threads()  # a thread's first call takes over what another thread has set last
    torch.set_num_threads(count)
