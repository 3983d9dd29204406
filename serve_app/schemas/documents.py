"""Wire models that routes and commands share: what callers send. Frozen, and unknown keys are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from deployments.errors import InvalidRequest
from deployments.ingestion.base import ChunkSizes
from deployments.types import Language
from serve_app.platform.job_states import JobState
from serve_app.platform.tenant_settings import Settings


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


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


def explain(issues: Iterable[Mapping[str, Any]]) -> str:
    """What pydantic found, one clause a field, e.g. `top_k: Input should be greater than 0`."""
    return "; ".join(f"{'.'.join(map(str, issue['loc'])) or 'body'}: {issue['msg']}" for issue in issues)


FilterText = Annotated[
    Text | None,
    Field(
        description="comparisons of metadata.<key>, document_id, language or collection, joined by and, or, not",
        examples=["metadata.year >= 2018 and metadata.type == 'zakon'"],
    ),
]


class SearchRequest(Wire):
    query: Text = Field(description="the question, 1 to 8,000 characters", examples=["Koji je rok za žalbu?"])
    language: Language | None = Field(
        None, description="hr or en; left out, it is taken from the question, and is hr where that does not tell"
    )
    user: Name | None = Field(None, description="also search this user's private documents", examples=["u1"])
    collections: tuple[Name, ...] = Field((), description="search these only; none named: all", examples=[["zakoni"]])
    filter: FilterText = None
    top_k: int | None = Field(None, ge=1, description="passages to use; 8 if left out, at most 50")


class QueryRequest(SearchRequest):
    stream: bool = Field(True, description="server-sent events; false: one JSON object")
    max_tokens: int | None = Field(None, ge=1, description="length of the answer; 512 if left out, at most 4,096")
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)


class DocumentRequest(Wire):
    """One document, as text or by the URI that it is fetched from."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["text"]}, {"required": ["uri"]}]})

    id: Name | None = Field(
        None,
        description="left out, it is made from the text or the URI, so that the same one is the same document",
    )
    title: Text = Field("", max_length=512)
    text: Text | None = Field(None, min_length=1)
    uri: Text | None = Field(
        None,
        min_length=1,
        max_length=2_048,
        description="https://, s3:// or file://, as far as the service's `sources` allow; fetched before the answer",
        examples=["https://example.org/zakon.pdf"],
    )
    filename: Text = Field("", max_length=256, description="with a URI: left out, the last part of its path")
    media_type: Text = Field("", max_length=255, description="with a URI: left out, what its server says")
    collection: Name = "default"
    language: Language | None = Field(None, description="left out, it is taken from the text")
    user: Name | None = Field(None, description="make it this user's private document")
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.text is None) == (self.uri is None):
            raise ValueError("send exactly one of text and uri")
        if self.uri is None and (self.filename or self.media_type):
            raise ValueError("filename and media_type go with uri; text is Markdown")
        return self


Bulk = Annotated[
    bool, Field(description="index them in a Ray Job of their own, whose progress and log Ray's dashboard shows")
]


class LoneDocument(DocumentRequest):
    bulk: Bulk = False


class Paged(Wire):
    after: Text = Field("", max_length=64, description="the `next` of the page before")
    limit: int | None = Field(None, ge=1, description="rows to give; 100 if left out")


class DocumentPatch(Wire):
    metadata: dict[Name, Any] = Field(
        description="a JSON merge patch: null removes a key", examples=[{"year": 2019, "draft": None}]
    )


OfCollection = Annotated[Name | None, Field(description="documents of this collection", examples=["zakoni"])]
OfUser = Annotated[
    Text | None,
    Field(max_length=256, description="this user's private documents; empty: those of the whole tenant"),
]
IfLive = Annotated[bool | None, Field(description="true: documents that searches find; false: those not indexed yet")]


OfState = Annotated[JobState | None, Field(description="jobs in this state")]


class DocumentSelection(Wire):
    """Which documents are meant: all that is given must hold."""

    collection: OfCollection = None
    user: OfUser = None
    live: IfLive = None
    filter: FilterText = None


class _CollectionFields(Wire):
    description: Text = Field("", max_length=2_000)
    chunk_tokens: int | None = Field(
        None,
        ge=32,
        le=8_192,
        description="size of its documents' chunks, in the embedder's tokens and at most what that reads; "
        "null: the service's own",
    )
    chunk_overlap: int | None = Field(
        None, ge=0, le=4_096, description="tokens that a chunk repeats of the one before; null: the service's own"
    )


class CollectionPatch(_CollectionFields):
    def change(self) -> dict[str, Any]:
        """What is given, and no more. Raises InvalidRequest for nothing."""
        given = {name: getattr(self, name) for name in _CollectionFields.model_fields if name in self.model_fields_set}
        if not given:
            raise InvalidRequest("nothing to change; send description, chunk_tokens or chunk_overlap")
        return given


class NewCollection(_CollectionFields):
    name: Text = Field(max_length=64, description="1 to 64 letters, digits, _ . -", examples=["zakoni"])

    def sizes(self) -> ChunkSizes:
        return ChunkSizes(self.chunk_tokens, self.chunk_overlap)


class NewKey(Wire):
    name: Text = Field("", max_length=256, description="what the key is for")
    role: Literal["admin", "query"] = Field("query", description="admin may change documents and keys, query only ask")
    expires_at: Moment | None = Field(None, description="left out, it stays until it is revoked")


class Rotation(Wire):
    overlap_s: float = Field(3_600, ge=0, description="how long the old key goes on working")


class TenantFields(Wire):
    name: Text = Field("", max_length=256)
    settings: Settings = Settings()


class NewTenant(TenantFields):
    id: str = Field(max_length=64, description="1 to 64 of A-Z, a-z, 0-9, _ . -", examples=["acme"])


class TenantPatch(Wire):
    name: Text | None = Field(None, min_length=1, max_length=256)
    settings: dict[str, Any] | None = Field(
        None, description="a JSON merge patch: null resets a setting", examples=[{"quotas": {"documents": 1000}}]
    )
    suspended: bool | None = Field(None, description="true: every key of the tenant is refused until false is sent")
