from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.errors import InvalidRequest
from deployments.generation.active_queries import RunningQueries
from deployments.generation.config import GenerationConfig
from deployments.types import GenerationRequest

MakeRequest = Callable[..., GenerationRequest]


def test_an_abort_reaches_the_query(request_for: MakeRequest) -> None:
    queries = RunningQueries(GenerationConfig())
    with queries.enter(request_for()) as query:
        assert [q.query_id for q in queries] == ["q"]
        before = query.cancelled
        assert queries.abort("t", "q")
        assert (before, query.cancelled) == (False, True)
    assert len(queries) == 0


def test_another_tenants_abort_does_not(request_for: MakeRequest) -> None:
    queries = RunningQueries(GenerationConfig())
    with queries.enter(request_for()) as query:
        assert not queries.abort("other", "q")
        assert not query.cancelled


def test_an_abort_that_came_first_is_remembered_once(request_for: MakeRequest) -> None:
    queries = RunningQueries(GenerationConfig())
    assert not queries.abort("t", "q")
    with queries.enter(request_for()) as query:
        assert query.cancelled
    with queries.enter(request_for()) as query:
        assert not query.cancelled


def test_one_id_is_answered_once_at_a_time(request_for: MakeRequest) -> None:
    queries = RunningQueries(GenerationConfig())
    with queries.enter(request_for()):
        with pytest.raises(InvalidRequest, match="query_id 'q'"), queries.enter(request_for()):
            pass
        with queries.enter(request_for(tenant_id="other")):
            assert len(queries) == 2
        assert queries.abort("t", "q")


def test_leaves_when_the_answer_fails(request_for: MakeRequest) -> None:
    queries = RunningQueries(GenerationConfig())
    with pytest.raises(ZeroDivisionError), queries.enter(request_for()):
        raise ZeroDivisionError
    assert len(queries) == 0
