"""A document that is handed in: what it may be, and how it is told from others."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from deployments.errors import InvalidRequest
from deployments.ingestion.base import ChunkSizes
from serve_app.platform import collections, document_ids
from serve_app.platform.document_ids import MAX_ID, AutomaticId, digest
from serve_app.storage.tables import DocumentFields, document_column

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_OF_EVERY_FINGERPRINT = (
    "content_hash", "owner", "collection", "language", "title", "filename", "media_type", "metadata_",
)  # fmt: skip
"""In the order in which stored fingerprints were made: it must not change."""
_OF_NO_FINGERPRINT = ("blob", "size")
"""Two uploads of the same bytes differ in the first, and `content_hash` already tells the second."""


class NewDocument(DocumentFields):
    """A document to accept, whose bytes are already durable under `blob`.

    Takes a document's columns by their names. `id` None takes one made of owner, collection, file name and content, so
    that the same content handed in again is the same document. Raises TypeError for columns that are missing or
    unknown.
    """

    def __init__(
        self, *, id: str | AutomaticId | None = None, collection: str = collections.DEFAULT, **columns: Any
    ) -> None:
        self.id = id
        values = _defaults() | {"collection": collection} | columns
        by_name = {document_column(attribute).name: attribute for attribute in DocumentFields.__annotations__}
        if wrong := sorted(by_name.keys() ^ values.keys()):
            raise TypeError(f"columns of a document that are missing or unknown: {', '.join(wrong)}")
        for name, attribute in by_name.items():
            setattr(self, attribute, values[name])

    def replaced(self, **changes: Any) -> NewDocument:
        """The same document but for some columns, or its id."""
        return NewDocument(**{"id": self.id, **self.columns(), **changes})


@dataclass(frozen=True, slots=True)
class Upload:
    """A document's bytes, and all that is to be kept of it but where they lie."""

    data: bytes
    document: NewDocument


def checked(document: NewDocument) -> NewDocument:
    """The document with the id that it was given, or the ids that it may get. Raises InvalidRequest."""
    for attribute, value in document.fields().items():
        limit = document_column(attribute).info.get("max_characters")
        if limit is not None and value is not None:
            if len(value) > limit:
                raise InvalidRequest(
                    f"{attribute}: {len(value)} characters; at most {limit} are allowed", field=attribute
                )
            _check_text(attribute, value)
    check_metadata(document.metadata_)
    document_id = _automatic_id(document) if document.id is None else document.id
    id = document_id.preferred if isinstance(document_id, AutomaticId) else document_id
    if not 1 <= len(id) <= MAX_ID or any(unicodedata.category(c) in ("Cc", "Cs") for c in id):
        raise InvalidRequest(
            f"id {id[:80]!a}: use 1 to {MAX_ID} characters, none of them a control character", field="id"
        )
    collections.check_name(document.collection)
    return document.replaced(id=document_id)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for what is not JSON, or holds text that no database can."""
    for value in _strings(metadata):
        _check_text("metadata", value)
    canonical(metadata)


def fingerprint_of(document: DocumentFields, sizes: ChunkSizes = ChunkSizes()) -> str:  # noqa: B008 - it is frozen
    """Equal for the same bytes with the same title, collection and so on, cut alike: then there is nothing to index.

    A field that was added to documents later counts only where it has a value, so that stored fingerprints stay good.
    """
    values = {name: value for name, value in document.fields().items() if name not in _OF_NO_FINGERPRINT}
    values["metadata_"] = canonical(document.metadata_)
    first = [values.pop(name) or "" for name in _OF_EVERY_FINGERPRINT]
    later = [f"{name}={value}" for name, value in values.items() if value]
    own = () if sizes == ChunkSizes() else (str(sizes.tokens), str(sizes.overlap))
    return digest(*first, *later, *own)


def canonical(metadata: Mapping[str, Any]) -> str:
    """Equal for equal metadata. Raises InvalidRequest for what is not JSON."""
    try:
        return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"metadata: not a JSON object ({error})", field="metadata") from error


def _defaults() -> dict[str, Any]:
    """Column name → value, for the columns of a document that need not be given."""
    defaults: dict[str, Any] = {}
    for attribute in DocumentFields.__annotations__:
        column, default = document_column(attribute), cast(Any, document_column(attribute).default)
        if default is not None:
            defaults[column.name] = default.arg(None) if default.is_callable else default.arg
        elif column.nullable:
            defaults[column.name] = None
    return defaults


def _automatic_id(document: NewDocument) -> AutomaticId:
    return document_ids.of_text(document.owner, document.collection, document.filename, document.content_hash)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _check_text(name: str, value: str) -> None:
    """Databases store neither NUL nor half of a surrogate pair."""
    if _UNSTORABLE.search(value):
        raise InvalidRequest(f"{name}: holds a NUL or an unpaired surrogate; remove it", field=name)
