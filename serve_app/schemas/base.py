"""What the schemas of requests and responses have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from deployments.errors import InvalidRequest

# --- Requests


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid UTF-8: it contains a lone surrogate") from None
    return text


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999 of UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=256)]
Metadata = dict[Name, Any]
FilterText = Annotated[
    Text | None,
    Field(
        description="comparisons of metadata.<key>, document_id, language or collection, joined by and, or, not",
        examples=["metadata.year >= 2018 and metadata.type == 'zakon'"],
    ),
]


class Wire(BaseModel):
    """What callers send. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Paged(Wire):
    after: Text = Field("", max_length=64, description="the `next` of the page before")
    limit: int | None = Field(None, ge=1, description="rows of the page; by default 100")


def explain(issues: Iterable[Mapping[str, Any]]) -> str:
    """What pydantic found, one clause a field, e.g. `top_k: Input should be greater than 0`."""
    return "; ".join(f"{_place(issue) or 'body'}: {issue['msg']}" for issue in issues)


def invalid_request(issues: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The error for what pydantic found; its field is the first one that is wrong."""
    return InvalidRequest(explain(issues), field=_place(issues[0]) or None)


def _place(issue: Mapping[str, Any]) -> str:
    return ".".join(map(str, issue["loc"]))


# --- Responses


@dataclass(frozen=True, slots=True)
class From:
    """Annotation of a response's field: how its value is read from a row, where it is not the attribute of its name."""

    read: Callable[[Any], Any]


class ResponseModel(BaseModel):
    """What callers are sent. `model_validate` takes a row or another object, and reads each field from its attributes.

    A field that the code sends but no model declares is a defect. Clients are to expect new fields all the same, so the
    JSON schema does not forbid them.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra=lambda schema: schema.pop("additionalProperties", None))

    @model_validator(mode="before")
    @classmethod
    def _read_attributes(cls, source: Any) -> Any:
        if isinstance(source, Mapping | BaseModel):
            return source
        return {name: _read(source, name, field) for name, field in cls.model_fields.items()}

    def as_json(self) -> dict[str, Any]:
        """The object that `json.dumps` takes."""
        return self.model_dump(mode="json")


def _read(source: Any, name: str, field: FieldInfo) -> Any:
    for annotation in field.metadata:
        if isinstance(annotation, From):
            return annotation.read(source)
    return getattr(source, name)


A_TIME = "2026-11-24T08:30:00+00:00"
Time = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str), Field(examples=[A_TIME])]
Next = Annotated[str | None, Field(description="`after` of the next page; null: this is the last one")]
