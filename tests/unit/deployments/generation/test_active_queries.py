from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.errors import InvalidRequest
from deployments.generation.active_queries import ActiveQueries
from deployments.generation.config import GenerationConfig
from deployments.types import GenerationRequest
from tests.support.clock import Seconds

MakeRequest = Callable[..., GenerationRequest]


@pytest.fixture
def clock() -> Seconds:
    return Seconds(100.0)


def queries_with(clock: Seconds, *, max_tombstones: int = 10) -> ActiveQueries:
    return ActiveQueries(GenerationConfig(tombstone_s=30, max_tombstones=max_tombstones), clock)


def starts_cancelled(queries: ActiveQueries, request: GenerationRequest) -> bool:
    with queries.enter(request) as query:
        return query.cancelled


def test_an_abort_reaches_the_query(request_for: MakeRequest) -> None:
    queries = ActiveQueries(GenerationConfig())
    with queries.enter(request_for()) as query:
        assert [active.query_id for active in queries] == ["q"]
        before = query.cancelled
        assert queries.abort("t", "q")
        assert (before, query.cancelled) == (False, True)
    assert len(queries) == 0


def test_another_tenants_abort_does_not(request_for: MakeRequest) -> None:
    queries = ActiveQueries(GenerationConfig())
    with queries.enter(request_for()) as query:
        assert not queries.abort("other", "q")
        assert not query.cancelled


def test_an_abort_that_came_first_counts_once(request_for: MakeRequest, clock: Seconds) -> None:
    queries = queries_with(clock)
    assert not queries.abort("t", "q")
    assert starts_cancelled(queries, request_for())
    assert not starts_cancelled(queries, request_for())


def test_an_abort_that_came_first_is_the_tenants_own(request_for: MakeRequest, clock: Seconds) -> None:
    queries = queries_with(clock)
    queries.abort("t", "q")
    assert not starts_cancelled(queries, request_for(tenant_id="other"))
    assert not starts_cancelled(queries, request_for(query_id="other"))
    assert starts_cancelled(queries, request_for())


@pytest.mark.parametrize(("later", "cancelled"), [(29.9, True), (30.0, False), (31.0, False)])
def test_an_abort_that_came_first_expires(
    request_for: MakeRequest, clock: Seconds, later: float, cancelled: bool
) -> None:
    queries = queries_with(clock)
    queries.abort("t", "q")
    clock.now += later
    assert starts_cancelled(queries, request_for()) is cancelled


def test_the_same_abort_again_lives_anew(request_for: MakeRequest, clock: Seconds) -> None:
    queries = queries_with(clock)
    queries.abort("t", "q")
    clock.now += 20
    queries.abort("t", "q")
    clock.now += 20
    assert starts_cancelled(queries, request_for())


def test_expired_aborts_make_room(request_for: MakeRequest, clock: Seconds) -> None:
    queries = queries_with(clock, max_tombstones=2)
    queries.abort("t", "old")
    clock.now += 15
    queries.abort("t", "young")
    clock.now += 15
    queries.abort("t", "new")
    assert starts_cancelled(queries, request_for(query_id="young"))
    assert starts_cancelled(queries, request_for(query_id="new"))


def test_beyond_the_bound_the_oldest_abort_is_forgotten(request_for: MakeRequest, clock: Seconds) -> None:
    queries = queries_with(clock, max_tombstones=3)
    for number in range(5):
        queries.abort("t", str(number))
    remembered = [number for number in range(5) if starts_cancelled(queries, request_for(query_id=str(number)))]
    assert remembered == [2, 3, 4]


def test_one_id_is_answered_once_at_a_time(request_for: MakeRequest) -> None:
    queries = ActiveQueries(GenerationConfig())
    with queries.enter(request_for()):
        with pytest.raises(InvalidRequest, match="query_id 'q'"), queries.enter(request_for()):
            pass
        with queries.enter(request_for(tenant_id="other")):
            assert len(queries) == 2
        assert queries.abort("t", "q")


def test_leaves_when_the_answer_fails(request_for: MakeRequest) -> None:
    queries = ActiveQueries(GenerationConfig())
    with pytest.raises(ZeroDivisionError), queries.enter(request_for()):
        raise ZeroDivisionError
    assert len(queries) == 0
