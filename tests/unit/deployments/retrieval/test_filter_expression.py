"""Filters mean on each real engine what `filters.matches` says."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import InvalidRequest
from deployments.filters import And, Comparison, Filter, Not, Or, matches
from deployments.retrieval.base import create
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.filter_expression import (
    document_expression,
    facets,
    filter_expression,
    scope_expression,
    versions_expression,
)
from deployments.types import (
    DocumentVersion,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    Scope,
    VersionRun,
    VisibleVersions,
)

TEXTS = [
    "",
    "a",
    "A",
    "č",
    '"',
    "'",
    "\\",
    '\\"',
    '" or "" == "',
    "%",
    "_",
    "a\nb\tc\r",
    "true",
    "1",
    "[1]",
    "$meta",
    "😀",
    "2026-03-29",
    "2026-03-29T00:30:00Z",
    "2026-03-29T02:30:00+02:00",
    "2026-03",
]
NUMBERS = [0, 1, -1, 1.0, 1.5, -2.5e-7, 2018, 1e16, 1.7e308, 2**53 + 1, 2**63 - 1]
LISTS = [[], ["a", 1, True, "2026-03-29"], ["č", -0.0, False], [["a"], None], [{"a": 1}, {"a": "2026-03-29"}]]
VALUES = [*TEXTS, *NUMBERS, True, False, None, *LISTS, {"a": 1}, {"a": {"b": "a"}}, float("1e-320")]
KEYS = ["k", "a-b", "n_k"]
NAMES = [*KEYS, "k.a", "k.a.b", '"k.a"', "nowhere"]
LITERALS: list[Any] = [value for value in VALUES if isinstance(value, str | int | float)]

comparisons = st.one_of(
    st.builds(
        Comparison,
        st.sampled_from([*(f"metadata.{name}" for name in NAMES), "document_id", "collection", "language"]),
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(LITERALS),
    ),
    st.builds(
        Comparison,
        st.sampled_from([*(f"metadata.{name}" for name in NAMES), "document_id", "collection"]),
        st.just("in"),
        st.lists(st.sampled_from(LITERALS), min_size=1, max_size=4).map(tuple),
    ),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def metadata_of_every_kind() -> Iterator[dict[str, Any]]:
    yield {}
    for key, value in itertools.product(KEYS, VALUES):
        yield {key: value}
    for first, second in itertools.islice(itertools.combinations(VALUES, 2), 0, None, 6):
        yield {"k": first, "a-b": second}


class Corpus:
    """Passages whose metadata holds every kind of value, in an index."""

    def __init__(self, config: RetrievalConfig, entry: Callable[..., IndexEntry], generation: IndexGeneration) -> None:
        self.entries = [
            entry(
                str(n),
                metadata=metadata,
                document_id=TEXTS[n % len(TEXTS)] or "d",
                collection=TEXTS[n // 2 % len(TEXTS)],
                language=("hr", "en")[n % 2],
            )
            for n, metadata in enumerate(metadata_of_every_kind())
        ]
        self.runner = asyncio.Runner()
        self.index = create(config)
        self.runner.run(self.index.open())
        self.runner.run(self.index.upsert(generation, self.entries))

    def found(self, request: RetrievalRequest) -> set[str]:
        return {candidate.passage.id for candidate in self.runner.run(self.index.search(request))}

    def expected(self, filter: Filter) -> set[str]:
        return {entry.passage.id for entry in self.entries if accepts(filter, entry.passage)}

    def close(self) -> None:
        self.index.close()
        self.runner.close()


def accepts(filter: Filter, passage: Passage) -> bool:
    return matches(
        filter,
        document_id=passage.document_id,
        language=passage.language,
        collection=passage.collection,
        metadata=passage.metadata,
    )


@pytest.mark.parametrize("config", ["embedded", "milvus-server"], indirect=True)
def test_an_engine_agrees_with_matches(
    config: RetrievalConfig,
    entry: Callable[..., IndexEntry],
    generation: IndexGeneration,
    request_for: Callable[..., RetrievalRequest],
) -> None:
    corpus = Corpus(config, entry, generation)
    limit = len(corpus.entries)

    @settings(max_examples=100)
    @given(filters)
    def agree(filter: Filter) -> None:
        assert corpus.found(request_for(filter=filter, limit=limit)) == corpus.expected(filter)

    try:
        agree()
        widest = Comparison("metadata.k", "in", tuple(range(400)))
        for filter in (widest, Not(widest)):
            assert corpus.found(request_for(filter=filter, limit=limit)) == corpus.expected(filter)
    finally:
        corpus.close()


@pytest.mark.parametrize("value", TEXTS)
def test_a_value_stays_inside_its_quotes(value: str) -> None:
    rendered = filter_expression(Comparison("document_id", "==", value)).removeprefix("document_id == ")
    assert (rendered[0], rendered[-1]) == ('"', '"')
    inner = rendered[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inner
    assert not inner.endswith("\\")


def test_scope_expression() -> None:
    assert scope_expression(Scope("t")) == 'tenant_id == "t" and owner == ""'
    scope = Scope("t", "u", ("a", "b"), Or((Comparison("metadata.y", ">", 1), Comparison("metadata.y", "!=", "x"))))
    assert scope_expression(scope) == (
        'tenant_id == "t" and owner in ["", "u"] and collection in ["a", "b"] and '
        '((exists $meta["n_y"] and $meta["n_y"] > 1.0) or (exists $meta["s_y"] and $meta["s_y"] != "x"))'
    )


def test_unseen_versions_are_out_of_scope() -> None:
    scope = Scope("t", visible=VisibleVersions("v3", ("v1", 'v"2')))
    expected = 'tenant_id == "t" and owner == "" and version <= "v3" and version not in ["v1", "v\\"2"]'
    assert scope_expression(scope) == expected


def test_runs_of_unseen_versions_are_out_of_scope() -> None:
    scope = Scope(
        "t", visible=VisibleVersions("v9", ("v1",), hidden_runs=(VersionRun("v3", "v5"), VersionRun("v7", "v8")))
    )
    assert scope_expression(scope) == (
        'tenant_id == "t" and owner == "" and version <= "v9" and version not in ["v1"] and '
        '(version < "v3" or version > "v5") and (version < "v7" or version > "v8")'
    )


def test_document_expression() -> None:
    assert document_expression("t", 'd"') == 'tenant_id == "t" and document_id == "d\\""'


def test_versions_expression() -> None:
    assert versions_expression("t", [DocumentVersion("d", "v"), DocumentVersion("e", "w")]) == (
        'tenant_id == "t" and ((document_id == "d" and version == "v") or (document_id == "e" and version == "w"))'
    )


@pytest.mark.parametrize("value", ["\x00", "a\x1b", "\x7f", "\ud800"])
def test_what_no_literal_can_hold_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="control character"):
        scope_expression(Scope(value))


def test_facets_are_the_comparable_values_under_names_of_their_kind() -> None:
    metadata = {"year": 2018, "type": "x", "open": True, "by": {"name": "a"}, "none": None, "nan": float("nan")}
    assert facets(metadata) == {"n_year": 2018.0, "s_type": "x", "b_open": True, "s_by.name": "a"}


def test_a_time_has_a_facet_that_sorts() -> None:
    assert facets({"at": "2026-03-29T02:30:00+02:00"}) == {
        "s_at": "2026-03-29T02:30:00+02:00", "t_at": "2026-03-29T00:30:00.",
    }  # fmt: skip


def test_each_value_in_a_list_has_a_facet_whose_name_says_it() -> None:
    fields = facets({"tags": ["a", 1, True, "a", None, "2026-03-29", "2026-03-29T00:00:00Z"]})
    assert len(fields) == 4
    assert all(re.fullmatch("e_[0-9a-f]{16}", name) and value is True for name, value in fields.items())
    assert facets({"tags": ["a"]}).items() <= fields.items()
    assert not facets({"other": ["a"]}).items() & fields.items()


@pytest.mark.parametrize("key", ["odd key", "č", "a.b", '"', "x" * 41])
def test_the_name_of_a_facet_has_safe_characters_and_is_short(key: str) -> None:
    [(field, value)] = facets({key: 1}).items()
    assert re.fullmatch(r"n_\.[0-9a-f]{16}", field)
    assert value == 1
