"""Index entries as rows of a Milvus collection, and back: the schema, the rows, and candidates from search hits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient

from deployments.lexical import NO_TERMS
from deployments.retrieval.entries import cosine, inner_product
from deployments.retrieval.filter_expression import facets
from deployments.retrieval.validation import MAX_BYTES
from deployments.types import Candidate, IndexEntry, Passage, RetrievalRequest, Scores

_TEXT_FIELDS = ("id", "document_id", "version", "tenant_id", "owner", "collection", "language", "title", "text")
PASSAGE_FIELDS = (*_TEXT_FIELDS, "position", "metadata")
"""The fields that make a `Passage`."""
ENTRY_FIELDS = (*PASSAGE_FIELDS, "dense", "lexical")
"""The fields that make an `IndexEntry`."""


def collection_schema(dimension: int) -> CollectionSchema:
    """The fields of a collection whose dense vectors have `dimension` numbers. The partition key is the tenant."""
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
    """An entry as Milvus stores it, without its token vectors, which are not kept there.

    The primary key holds the tenant: two tenants may use the same passage id.
    """
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
