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
        Unavailable("the database is busy"),
    ],
)
def test_a_pickled_error_keeps_its_message_and_field(error: RagError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.message, copy.field, str(copy)) == (error.message, error.field, error.message)
