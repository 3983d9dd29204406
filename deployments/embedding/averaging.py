"""The vector of a text that was embedded in windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployments.inference.windows import Window
from deployments.types import Matrix


def mean(cut: Sequence[Sequence[Window]], vectors: Matrix) -> Matrix:
    """Unit vectors, shape (len(cut), dimension): for each text the mean of its windows' vectors over all its tokens, as
    it would be had the model read it in one piece. `vectors` are those of all windows, in order."""
    if len(vectors) == len(cut):
        return vectors
    weights = np.array([max(window.tokens, 1) for each in cut for window in each], dtype=np.float32)
    owners = np.repeat(np.arange(len(cut)), [len(each) for each in cut])
    summed = np.zeros((len(cut), vectors.shape[1]), dtype=np.float32)
    np.add.at(summed, owners, vectors * weights[:, None])
    unit: Matrix = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), np.float32(1e-12))
    return unit
