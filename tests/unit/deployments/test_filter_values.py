from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.filter_values import METADATA, metadata_name, moment, values_at, values_by_name
from deployments.filters import Comparison, parse

keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4) | st.sampled_from(
    ["a", "b", "a.b", '"', "č"]
)
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("2026-03-29")
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
zones = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis wants bounds without zones
    datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=zones,
)


@given(st.dictionaries(keys, json_values, max_size=4))
def test_each_name_leads_to_its_values(metadata: dict[str, Any]) -> None:
    for name, values in values_by_name(metadata).items():
        found = values_at(metadata, METADATA + name)
        assert (Counter(found.typed), found.is_list) == (Counter(values.typed), values.is_list)
        assert metadata_name(METADATA + name) == METADATA + name, "there is one way to write it"


@given(keys, keys)
def test_a_filter_can_name_any_key(outer: str, inner: str) -> None:
    [name] = values_by_name({outer: {inner: 1}})
    assert parse(f"metadata.{name} == 1") == Comparison(f"metadata.{name}", "==", 1)


@given(times, times)
def test_moments_sort_by_time(first: datetime, second: datetime) -> None:
    earlier, later = sorted((first, second))
    assert "" < moment(earlier.isoformat()) <= moment(later.isoformat())
    assert moment(first.isoformat()) == moment(first.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    assert (moment(first.isoformat()) == moment(second.isoformat())) is (first == second)
