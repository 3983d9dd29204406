"""Checks of what an index stores and looks up. The limits are Milvus's, and hold for every index.

Entries are checked before anything is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from deployments.errors import InvalidRequest
from deployments.filter_values import INTEGERS
from deployments.lexical import NO_TERMS
from deployments.types import IndexEntry, IndexGeneration, Passage, RetrievalRequest

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
"""Text field → its largest size in UTF-8, which is how Milvus counts."""
MAX_METADATA_BYTES = 32_768
MAX_TERM_ID = 2**32 - 2
"""The least id is NO_TERMS, which an entry without terms has when it comes from Milvus."""
_REQUIRED = ("id", "document_id", "tenant_id")


def check_entries(generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
    """Raises InvalidRequest, which names the passage and the field."""
    for entry in entries:
        check_passage(entry.passage)
        if entry.dense.shape != (generation.dimension,):
            raise _refusal(
                entry.passage, "dense", f"has shape {entry.dense.shape}, not ({generation.dimension},); embed it again"
            )
        if not np.isfinite(entry.dense).all():
            raise _refusal(entry.passage, "dense", "holds a number that is not finite; embed it again")
        if not all(NO_TERMS <= term <= MAX_TERM_ID and 0 < weight < math.inf for term, weight in entry.lexical.items()):
            raise _refusal(
                entry.passage, "lexical", "holds an id or weight out of range; encode it with lexical.encode_passage"
            )


def check_request(request: RetrievalRequest) -> None:
    """Raises InvalidRequest."""
    if request.limit < 1:
        raise InvalidRequest(f"limit: {request.limit} is below 1; ask for at least one candidate")
    if request.dense.vectors.ndim != 2 or len(request.dense.vectors) > 1:
        raise InvalidRequest(
            f"dense: expected one question's vector, got shape {request.dense.vectors.shape}; send one question"
        )
    if not (len(request.dense.vectors) or request.lexical):
        raise InvalidRequest("dense and lexical: a question needs a vector or terms; send one of them")


def check_passage(passage: Passage) -> None:
    """Raises InvalidRequest, which names the passage and the field."""
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
    metadata_size = _json_size(passage.metadata)
    if metadata_size is None:
        problem = "is not JSON; use text, finite numbers of 64 bits, booleans, null, lists and objects"
        raise _refusal(passage, "metadata", problem)
    if metadata_size > MAX_METADATA_BYTES:
        problem = f"takes {metadata_size} bytes; at most {MAX_METADATA_BYTES} fit, so shorten it"
        raise _refusal(passage, "metadata", problem)


def _json_size(value: object) -> int | None:
    """The value's size in bytes as JSON; None if Milvus would not take it as JSON."""
    try:
        return len(json.dumps(_as_milvus_json(value), allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        return None


def _as_milvus_json(value: object) -> object:
    """The value. Raises TypeError for what json.dumps lets through but Milvus does not: other keys than text, and
    integers of more than 64 bits."""
    match value:
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("a key is not text")
            return {key: _as_milvus_json(member) for key, member in value.items()}
        case list() | tuple():
            return [_as_milvus_json(element) for element in value]
        case int() if value not in INTEGERS:
            raise TypeError("an integer does not fit 64 bits")
        case _:
            return value


def _refusal(passage: Passage, field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"passage {passage.id[:80]!r}: {field} {problem}")
