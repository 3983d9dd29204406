"""What an index refuses to store or look up, checked before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from deployments.errors import EmbedderMismatch, InvalidRequest
from deployments.types import EmbedderInfo, IndexEntry, Passage, RetrievalRequest

MAX_BYTES: Mapping[str, int] = {
    "id": 256,
    "document_id": 512,
    "version": 128,
    "tenant_id": 128,
    "owner": 256,
    "collection": 256,
    "language": 8,
    "title": 4_096,
    "text": 65_535,
}
"""Of each text field's UTF-8 form, which is how Milvus counts."""
MAX_METADATA_BYTES = 32_768
MAX_TERM_ID = 2**32 - 2
_REQUIRED = ("id", "document_id", "tenant_id")


def check_entries(embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None:
    """Raises InvalidRequest naming the passage and the field."""
    for entry in entries:
        _check_passage(entry.passage)
        if entry.dense.shape != (embedder.dimension,):
            raise _refusal(
                entry.passage, "dense", f"has shape {entry.dense.shape}, not ({embedder.dimension},); embed it again"
            )
        if not np.isfinite(entry.dense).all():
            raise _refusal(entry.passage, "dense", "holds a number that is not finite; embed it again")
        if not all(1 <= term <= MAX_TERM_ID and 0 < weight < math.inf for term, weight in entry.lexical.items()):
            raise _refusal(
                entry.passage, "lexical", "holds an id or weight out of range; encode it with lexical.encode_passage"
            )


def check_request(request: RetrievalRequest) -> None:
    if request.limit < 1:
        raise InvalidRequest(f"limit: {request.limit} is below 1; ask for at least one candidate")
    if request.dense.vectors.ndim != 2 or len(request.dense.vectors) != 1:
        raise InvalidRequest(
            f"dense: expected one question's vector, got shape {request.dense.vectors.shape}; send one question"
        )


def embedder_mismatch(mine: str, others: Sequence[str]) -> EmbedderMismatch:
    return EmbedderMismatch(
        f"the index was made by the embedder {', '.join(sorted(others))}, and the question was embedded by {mine}: "
        "configure the embedder that made the index, or index the documents again"
    )


def _check_passage(passage: Passage) -> None:
    for field, limit in MAX_BYTES.items():
        value: str = getattr(passage, field)
        if not value and field in _REQUIRED:
            raise _refusal(passage, field, "is empty; name it")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise _refusal(passage, field, "is not valid Unicode; send it as UTF-8") from None
        if size > limit:
            raise _refusal(passage, field, f"takes {size} bytes; at most {limit} fit, so shorten it")
    try:
        size = len(json.dumps(dict(passage.metadata), allow_nan=False).encode())
    except (TypeError, ValueError):
        raise _refusal(
            passage, "metadata", "is not JSON; use text, finite numbers, booleans, lists and objects"
        ) from None
    if size > MAX_METADATA_BYTES:
        raise _refusal(passage, "metadata", f"takes {size} bytes; at most {MAX_METADATA_BYTES} fit, so shorten it")


def _refusal(passage: Passage, field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"passage {passage.id[:80]!r}: {field} {problem}")
