from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from deployments.filter_values import MAX_VALUES
from deployments.inference.windows import untruncated
from deployments.ingestion.base import Chunk, DocumentTask
from deployments.ingestion.fake import FakeEmbedder, word_tokenizer
from deployments.ingestion.passages import (
    LOCATION_KEYS,
    chunk_size,
    embeddable_texts,
    lexical_vectors,
    passage_id,
    with_own_fields,
)
from deployments.lexical import blend, encode_passage

CHUNK = Chunk(3, "Rok je 15 dana.", ("Zakon o žalbi", "Žalba", "Članak 5."))


@pytest.fixture
def tokenizer() -> Tokenizer:
    return word_tokenizer()


def test_what_is_embedded_is_the_text_below_title_and_headings(task: DocumentTask, tokenizer: Tokenizer) -> None:
    (embeddable,) = embeddable_texts(task, "Zakon o žalbi", "hr", [CHUNK], tokenizer, 256)
    assert embeddable.text == "Zakon o žalbi › Žalba › Članak 5.\nRok je 15 dana."
    assert embeddable.passage.text == CHUNK.text
    assert (embeddable.passage.position, embeddable.passage.title, embeddable.passage.language) == (
        3,
        "Zakon o žalbi",
        "hr",
    )
    assert (embeddable.passage.tenant_id, embeddable.passage.document_id, embeddable.passage.version) == (
        "tenant",
        "doc",
        "v1",
    )
    assert embeddable.passage.metadata == {"year": 2024, "headings": list(CHUNK.headings)}


def test_the_prefix_is_cut_from_its_left_and_never_the_chunk(task: DocumentTask, tokenizer: Tokenizer) -> None:
    for room in range(20):
        max_tokens = len(tokenizer.encode(CHUNK.text)) + room
        (embeddable,) = embeddable_texts(task, "Zakon o žalbi", "hr", [CHUNK], tokenizer, max_tokens)
        assert len(tokenizer.encode(embeddable.text)) <= max_tokens
        prefix, _, text = embeddable.text.rpartition("\n")
        assert text == CHUNK.text
        assert "Zakon o žalbi › Žalba › Članak 5.".endswith(prefix)
        assert not prefix.startswith("›")
        if room >= 3:
            assert prefix.endswith("Članak 5.")


def test_what_was_handed_in_wins_over_a_documents_own_field_of_the_same_key() -> None:
    metadata = {"year": 2024, "draft": None}
    own = {"year": 1999, "draft": True, "author": "Ana"}
    assert with_own_fields(metadata, own, 1_000) == ({"year": 2024, "draft": None, "author": "Ana"}, 0)
    assert metadata == {"year": 2024, "draft": None}


def test_a_documents_own_fields_are_added_as_far_as_they_fit() -> None:
    own = {"long": "š" * 100, "a": 1, "b": "ž"}
    whole = {"year": 2024, **own}
    size = len(json.dumps(whole, ensure_ascii=False).encode())
    assert with_own_fields({"year": 2024}, own, size) == (whole, 0)
    assert with_own_fields({"year": 2024}, own, size - 1) == ({"year": 2024, "long": "š" * 100, "a": 1}, 1)
    assert with_own_fields({"year": 2024}, own, 50) == ({"year": 2024, "a": 1, "b": "ž"}, 1)


@pytest.mark.parametrize("key", LOCATION_KEYS)
def test_a_documents_own_field_does_not_say_where_a_passage_is(key: str) -> None:
    assert with_own_fields({"year": 2024}, {key: "blog", "author": "Ana"}, 1_000) == (
        {"year": 2024, "author": "Ana"},
        1,
    )
    assert with_own_fields({key: 7}, {key: "blog"}, 1_000) == ({key: 7}, 0)


def test_a_documents_own_fields_have_no_more_values_than_metadata_may_have() -> None:
    own = {"nested": {"tags": [*range(MAX_VALUES - 1)]}, "more": [1, [2]], "a": 1}
    assert with_own_fields({"year": 2024}, own, 100_000) == ({"year": 2024, "nested": own["nested"]}, 2)
    assert with_own_fields({}, own, 100_000) == ({"nested": own["nested"], "a": 1}, 1)


def test_a_document_that_is_made_again_gets_no_field_of_its_own() -> None:
    assert with_own_fields({"year": 2024}, {"author": "Ana"}, 0) == ({"year": 2024}, 0)


def test_a_callers_own_headings_key_is_kept(task: DocumentTask, tokenizer: Tokenizer) -> None:
    (embeddable,) = embeddable_texts(replace(task, metadata={"headings": "mine"}), "", "hr", [CHUNK], tokenizer, 256)
    assert embeddable.passage.metadata == {"headings": "mine"}


def test_a_passage_keeps_where_it_is_unless_the_caller_has_a_key_of_that_name(
    task: DocumentTask, tokenizer: Tokenizer
) -> None:
    chunk = replace(CHUNK, page=3, characters=(120, 135), of_section=(2, 4))
    (embeddable,) = embeddable_texts(task, "", "hr", [chunk], tokenizer, 256)
    location = {"headings": list(CHUNK.headings), "page": 3, "characters": [120, 135], "section": [2, 4]}
    assert embeddable.passage.metadata == {"year": 2024, **location}
    assert set(location) == set(LOCATION_KEYS)
    (embeddable,) = embeddable_texts(replace(task, metadata={"page": "iv"}), "", "hr", [chunk], tokenizer, 256)
    assert embeddable.passage.metadata["page"] == "iv"


def test_without_title_and_headings_the_text_stands_alone(task: DocumentTask, tokenizer: Tokenizer) -> None:
    (embeddable,) = embeddable_texts(task, "", "hr", [Chunk(0, "Tekst", ())], tokenizer, 256)
    assert embeddable.text == "Tekst"
    assert embeddable.passage.metadata == {"year": 2024}


def test_ids_are_stable_and_differ_by_tenant_document_version_and_position(task: DocumentTask) -> None:
    variants = [
        passage_id(task, 0),
        passage_id(task, 1),
        passage_id(replace(task, tenant_id="other"), 0),
        passage_id(replace(task, document_id="other"), 0),
        passage_id(replace(task, version="other"), 0),
        passage_id(replace(task, tenant_id="ten", document_id="antdoc"), 0),
    ]
    assert len(set(variants)) == len(variants)
    assert passage_id(replace(task, job_id="another", attempts=3), 0) == variants[0]
    assert all(len(variant) <= 64 for variant in variants)


@pytest.mark.parametrize(("max_tokens", "expected"), [(256, 220), (8192, 220), (128, 110), (16, 12)])
def test_the_chunk_size_leaves_room_for_the_prefix(max_tokens: int, expected: int) -> None:
    embedder = FakeEmbedder(max_tokens=max_tokens).info
    assert chunk_size(embedder, untruncated(embedder.tokenizer_json), 220) == expected


def test_the_lexical_vector_has_the_headings_and_the_terms_of_the_whole_section(
    task: DocumentTask, tokenizer: Tokenizer
) -> None:
    section = "Rok je 15 dana.\n\nSud odlučuje o žalbi."
    parts = [replace(CHUNK, position=at, text=text, section=section) for at, text in enumerate(section.split("\n\n"))]
    texts = embeddable_texts(task, "Zakon o žalbi", "hr", [CHUNK, *parts], tokenizer, 256)
    alone, first, second = lexical_vectors([CHUNK, *parts], texts, "hr")
    path = "Zakon o žalbi › Žalba › Članak 5.\n"
    whole = encode_passage(path + section, "hr")
    assert alone == encode_passage(path + CHUNK.text, "hr")
    assert first == blend(encode_passage(texts[1].text, "hr"), whole)
    assert second == blend(encode_passage(texts[2].text, "hr"), whole)
    assert set(first) == set(second) == set(whole)
