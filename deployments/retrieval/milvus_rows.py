"""Index entries as rows of a Milvus collection, and back: the schema, the rows, and candidates from search hits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deployments.lexical import NO_TERMS
from deployments.retrieval.filter_expression import facets
from deployments.retrieval.validation import MAX_BYTES
from deployments.types import Candidate, IndexEntry, Passage, RetrievalRequest, Scores, SparseVector, VersionCopy

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

_TEXT_FIELDS = ("id", "document_id", "version", "tenant_id", "owner", "collection", "language", "title", "text")
PASSAGE_FIELDS = (*_TEXT_FIELDS, "position", "metadata")
"""The fields that make a `Passage`."""
ENTRY_FIELDS = (*PASSAGE_FIELDS, "dense", "lexical")
"""The fields that make an `IndexEntry`."""


def collection_schema(dimension: int) -> CollectionSchema:
    """The fields of a collection whose dense vectors have `dimension` numbers. The partition key is the tenant."""
    # Imported here: the index in memory uses this module too, and pymilvus takes a second to import.
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=32)
    for field in _TEXT_FIELDS:
        schema.add_field(field, DataType.VARCHAR, max_length=MAX_BYTES[field], is_partition_key=field == "tenant_id")
    schema.add_field("position", DataType.INT64)
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_field("lexical", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def to_row(entry: IndexEntry) -> dict[str, Any]:
    """An entry as Milvus stores it. The primary key holds the tenant: two tenants may use the same passage id."""
    passage = entry.passage
    primary_key = hashlib.blake2b(f"{passage.tenant_id}\0{passage.id}".encode(), digest_size=16).hexdigest()
    return {
        **facets(passage.metadata),
        **{field: getattr(passage, field) for field in _TEXT_FIELDS},
        "pk": primary_key,
        "position": passage.position,
        "metadata": dict(passage.metadata),
        "dense": entry.dense.tolist(),
        "lexical": dict(entry.lexical) or {NO_TERMS: 1.0},  # Milvus refuses an empty sparse vector
    }


def to_entry(row: Mapping[str, Any]) -> IndexEntry:
    """The entry in a row that was read with `ENTRY_FIELDS`."""
    return IndexEntry(to_passage(row), np.asarray(row["dense"], dtype=np.float32), row["lexical"])


def to_passage(row: Mapping[str, Any]) -> Passage:
    """The passage in a row that was read with `PASSAGE_FIELDS`."""
    texts = {field: row[field] for field in _TEXT_FIELDS}
    return Passage(**texts, position=int(row["position"]), metadata=row["metadata"])


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


def dense_candidates(request: RetrievalRequest, hits: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """Hits of the dense half, each with its lexical score too where the question has terms."""
    return [
        Candidate(
            to_passage(hit["entity"]),
            Scores(
                dense=float(hit["distance"]),
                lexical=inner_product(request.lexical, hit["entity"]["lexical"]) if request.lexical else None,
            ),
        )
        for hit in hits
    ]


def lexical_candidates(request: RetrievalRequest, hits: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """Hits of the lexical half that share a term with the question, each with its cosine too where there is one."""
    return [
        Candidate(
            to_passage(hit["entity"]),
            Scores(dense=cosine(request, hit["entity"]["dense"]), lexical=float(hit["distance"])),
        )
        for hit in hits
        if hit["distance"] > 0
    ]


def cosine(request: RetrievalRequest, dense: npt.ArrayLike) -> float | None:
    """The question's cosine with a passage's vector; both have unit length. None for a question without a vector."""
    vectors = request.dense.vectors
    return float(np.dot(np.asarray(dense, np.float32), vectors[0])) if len(vectors) else None


def inner_product(question: SparseVector, passage: SparseVector) -> float:
    """The lexical score: weights of the terms that both hold, multiplied and added up."""
    return sum(weight * passage.get(term, 0.0) for term, weight in question.items())
