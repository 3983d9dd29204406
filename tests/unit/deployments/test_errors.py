"""Errors survive the way between replicas with all that they say."""

from __future__ import annotations

import pickle

import pytest

from deployments.errors import InvalidFilter, InvalidRequest, RagError, Unavailable


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("top_k is 51; at most 50 is allowed", field="top_k"),
        InvalidFilter("filter: empty", field="filter"),
        Unavailable("the database is busy", internal="db-1.internal:5432"),
    ],
)
def test_a_pickled_error_keeps_all_that_it_says(error: RagError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.message, copy.field, copy.internal, str(copy)) == (
        error.message,
        error.field,
        error.internal,
        str(error),
    )


def test_logs_have_what_callers_are_not_sent() -> None:
    error = Unavailable("the database is busy", internal="db-1.internal:5432")
    assert error.message == "the database is busy"
    assert str(error) == "the database is busy (db-1.internal:5432)"
