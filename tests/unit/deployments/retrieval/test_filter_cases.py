"""Every index finds what `filters.matches` says, case by case; lists of documents and deletions call that itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from deployments.filters import matches, parse
from deployments.retrieval.base import Index
from deployments.types import IndexEntry, IndexGeneration, RetrievalRequest
from tests.support.filter_cases import CASES, FilterCase


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.metadata} {case.filter}"[:120])
def test_matches(case: FilterCase) -> None:
    document = {"document_id": "d", "language": "hr", "collection": "c"}
    assert matches(parse(case.filter), **document, metadata=case.metadata) is case.holds


@pytest.mark.parametrize("config", ["fake", "embedded", "milvus-server"], indirect=True)
async def test_an_index(
    index: Index,
    generation: IndexGeneration,
    entry: Callable[..., IndexEntry],
    request_for: Callable[..., RetrievalRequest],
) -> None:
    await index.upsert(generation, [entry(str(n), metadata=case.metadata) for n, case in enumerate(CASES)])
    by_filter: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    for n, case in enumerate(CASES):
        by_filter[case.filter][str(n)] = case.holds
    wrong = []
    for filter, expected in by_filter.items():
        found = await index.search(request_for(filter=parse(filter), limit=len(CASES)))
        ids = {candidate.passage.id for candidate in found}
        wrong += [CASES[int(n)] for n, holds in expected.items() if (n in ids) is not holds]
    assert wrong == []
