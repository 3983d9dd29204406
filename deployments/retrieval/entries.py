"""Index entries, whichever index keeps them: their copies for another version, and their scores for a question."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deployments.types import IndexEntry, RetrievalRequest, SparseVector, VersionCopy


def copied(entry: IndexEntry, copy: VersionCopy) -> IndexEntry:
    """An entry as the version `copy.to` has it: same text and vectors, new metadata.

    Its new id follows from the old id and the new version. So a repeated copy replaces the same row, and no other
    version has that id.
    """
    passage = entry.passage
    kept = {key: value for key, value in passage.metadata.items() if key not in copy.replaces}
    return replace(
        entry,
        passage=replace(
            passage,
            id=hashlib.sha256(f"{passage.id}\0{copy.to}".encode()).hexdigest(),
            version=copy.to,
            metadata={**kept, **copy.metadata},
        ),
    )


def cosine(request: RetrievalRequest, dense: npt.ArrayLike) -> float | None:
    """The question's cosine with a passage's vector; both have unit length. None for a question without a vector."""
    vectors = request.dense.vectors
    return float(np.dot(np.asarray(dense, np.float32), vectors[0])) if len(vectors) else None


def inner_product(question: SparseVector, passage: SparseVector) -> float:
    """The lexical score: weights of the terms that both hold, multiplied and added up."""
    return sum(weight * passage.get(term, 0.0) for term, weight in question.items())
