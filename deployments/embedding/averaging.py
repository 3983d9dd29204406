"""The vector of a text that was embedded in several windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployments.inference.windows import Window
from deployments.types import Matrix


def mean(windows_per_text: Sequence[Sequence[Window]], vectors: Matrix) -> Matrix:
    """The texts' unit vectors, shape (texts, dimension).

    A text's vector is the mean of its windows' vectors, each weighted by its tokens: as if the model had averaged all
    the text's tokens at once. `vectors`: those of all windows in order, shape (windows, dimension).
    """
    texts = len(windows_per_text)
    if len(vectors) == texts:
        return vectors
    weights = np.array([max(window.tokens, 1) for windows in windows_per_text for window in windows], np.float32)
    text_of_window = np.repeat(np.arange(texts), [len(windows) for windows in windows_per_text])
    summed = np.zeros((texts, vectors.shape[1]), dtype=np.float32)
    np.add.at(summed, text_of_window, vectors * weights[:, None])
    unit: Matrix = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), np.float32(1e-12))
    return unit
