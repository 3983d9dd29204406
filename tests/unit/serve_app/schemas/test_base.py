"""Response models read rows, and errors name the first field that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import pytest
from pydantic import ValidationError

from serve_app.schemas.base import From, Paged, ResponseModel, Time, invalid_request


@dataclass(frozen=True)
class Row:
    id: str
    owner: str
    at: datetime
    secret: str = "not shown"


class Shown(ResponseModel):
    id: str
    user: Annotated[str | None, From(lambda row: row.owner or None)]
    at: Time


class Page(ResponseModel):
    rows: list[Shown]


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_row_s_attributes_are_read_by_the_names_of_fields() -> None:
    assert Shown.model_validate(Row("a", "u1", NOON)).as_json() == {
        "id": "a", "user": "u1", "at": "2026-11-24T12:00:00+00:00",
    }  # fmt: skip
    assert list(Shown.model_validate(Row("a", "", NOON)).as_json()) == ["id", "user", "at"]


def test_rows_are_read_in_lists_too() -> None:
    page = Page.model_validate({"rows": [Row("a", "", NOON)]}).as_json()
    assert page["rows"][0]["user"] is None


def test_a_time_keeps_its_offset_and_its_microseconds() -> None:
    at = datetime(2026, 11, 24, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=1)))
    assert Shown.model_validate(Row("a", "", at)).as_json()["at"] == at.isoformat()


def test_what_no_field_declares_is_a_defect() -> None:
    with pytest.raises(ValidationError):
        Shown.model_validate({"id": "a", "user": None, "at": NOON, "secret": "x"})


def test_an_error_names_the_first_wrong_field_and_explains_all() -> None:
    with pytest.raises(ValidationError) as found:
        Paged.model_validate({"after": 1, "limit": 0})
    error = invalid_request(found.value.errors())
    assert error.field == "after"
    assert error.message == ("after: Input should be a valid string; limit: Input should be greater than or equal to 1")
