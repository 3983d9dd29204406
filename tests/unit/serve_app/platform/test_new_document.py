from __future__ import annotations

from typing import Any

import pytest

from deployments.errors import InvalidRequest
from deployments.ingestion.base import ChunkSizes
from serve_app.platform.document_ids import AutomaticId
from serve_app.platform.new_document import NewDocument, checked, fingerprint_of

STORED: dict[str, Any] = {"content_hash": "c" * 64, "blob": "b", "size": 3}
DESCRIBED: dict[str, Any] = {
    "owner": "u",
    "collection": "zakoni",
    "language": "hr",
    "title": "Žalba",
    "filename": "ž.pdf",
    "media_type": "application/pdf",
    "metadata": {"godina": 2018, "a": ["č", None]},
}


@pytest.mark.parametrize(
    ("columns", "automatic_id", "fingerprint", "of_its_own_sizes"),
    [
        (
            {},
            "doc-5d354b6f7760e24d9a3465eee8c7d022",
            "b8bb3efd32e3a6b70b8aca798b5f348b",
            "6355248bf13497f1f664a778ea8186db",
        ),
        (
            DESCRIBED,
            "doc-f3d2f55f3b7173965daac54743bf1617",
            "3df25501fd8f65f922f695fe35fd6398",
            "85f15590480a71f658f716f1d9b854ff",
        ),
    ],
)
def test_ids_and_fingerprints_are_those_that_databases_hold(
    columns: dict[str, Any], automatic_id: str, fingerprint: str, of_its_own_sizes: str
) -> None:
    document = NewDocument(**STORED, **columns)
    ids = checked(document).id
    assert isinstance(ids, AutomaticId)
    assert ids.former == automatic_id
    assert fingerprint_of(document) == fingerprint
    assert fingerprint_of(document, ChunkSizes(300, None)) == of_its_own_sizes


def test_what_is_left_out_has_the_columns_default() -> None:
    document = NewDocument(**STORED)
    assert document.columns() == STORED | {
        "owner": "",
        "collection": "default",
        "language": None,
        "title": "",
        "filename": "",
        "media_type": "",
        "metadata": {},
    }
    assert document.metadata_ is not NewDocument(**STORED).metadata_


@pytest.mark.parametrize("columns", [{"blob": "b", "size": 3}, STORED | {"colour": "red"}])
def test_a_document_has_its_columns_and_no_others(columns: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"missing or unknown: (content_hash|colour)"):
        NewDocument(**columns)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"title": "x" * 1_001}, "title"),
        ({"filename": "\0"}, "filename"),
        ({"metadata": {"x": "\ud800"}}, "metadata"),
        ({"metadata": {"x": float("inf")}}, "metadata"),
        ({"id": "\n"}, "id"),
        ({"collection": "a b"}, "collection"),
    ],
)
def test_a_refusal_names_its_field(columns: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}") as refused:
        checked(NewDocument(**STORED | columns))
    assert refused.value.field == field
