"""What the schemas of requests and responses have in common."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from deployments.config import issue_text
from deployments.errors import InvalidRequest

# --- Requests


def composed(text: str) -> str:
    """The text in Unicode NFC. macOS writes file names in another form, which looks the same and is not equal."""
    return unicodedata.normalize("NFC", text)


def _composed_if_text(value: Any) -> Any:
    return composed(value) if isinstance(value, str) else value


def storable(text: str) -> str:
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
Text = Annotated[str, AfterValidator(storable)]
"""A text that is kept as it was sent."""
Label = Annotated[str, BeforeValidator(_composed_if_text), AfterValidator(storable)]
"""What a thing is called or compared by: ids, titles, names of files, users and collections, filters. It is composed
before its length counts."""
Name = Annotated[Label, Field(min_length=1, max_length=256)]
FilterText = Annotated[
    Label | None,
    Field(
        description="comparisons of metadata.<key>, document_id, language or collection, joined by and, or, not",
        examples=["metadata.year >= 2018 and metadata.type == 'zakon'"],
    ),
]


class Wire(BaseModel):
    """What callers send. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


def _is_number(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise PydanticCustomError("number", "send a number, without quotes")
    return value


Whole = Annotated[int, BeforeValidator(_is_number)]
"""A whole number of a JSON body. Pydantic by itself takes "3" for 3, and true for 1."""
Number = Annotated[float, BeforeValidator(_is_number)]
Seed = Annotated[Whole | None, Field(ge=-(2**63), le=2**63 - 1, description="-1: none, as if it were left out")]


class Paged(Wire):
    after: Label = Field("", max_length=64, description="the `next` of the page before")
    limit: Whole | None = Field(None, ge=1, description="rows of the page; by default 100")


MAX_ISSUES = 20
"""An error names so many fields at most."""
MAX_PLACE_CHARACTERS = 200
"""Where a field is named by the caller, its name may be as long as the body."""


def explain(issues: Sequence[Mapping[str, Any]]) -> str:
    """What pydantic found, one clause a field, e.g. `top_k: Input should be greater than 0`."""
    issues = _causes(issues)
    clauses = [
        f"{_place(issue)[:MAX_PLACE_CHARACTERS] or 'body'}: {issue_text(issue)}" for issue in issues[:MAX_ISSUES]
    ]
    if len(issues) > MAX_ISSUES:
        clauses.append(f"and {len(issues) - MAX_ISSUES} more")
    return "; ".join(clauses)


def _causes(issues: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Without lists that pydantic calls too short because their items are wrong."""
    inside = {tuple(issue["loc"][:length]) for issue in issues for length in range(len(issue["loc"]))}
    return [issue for issue in issues if issue["type"] != "too_short" or tuple(issue["loc"]) not in inside]


def invalid_request(issues: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """The error for what pydantic found; its field is the first one that is wrong."""
    return InvalidRequest(explain(issues), field=_place(issues[0])[:MAX_PLACE_CHARACTERS] or None)


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
