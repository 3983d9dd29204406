"""Wire models that routes and commands share: what callers send. Frozen, and unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployments.types import Language


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid UTF-8: it contains a lone surrogate") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=256)]
Metadata = dict[Name, Any]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class SearchRequest(Wire):
    query: Text = Field(description="the question, 1 to 8,000 characters", examples=["Koji je rok za žalbu?"])
    language: Language | None = Field(
        None, description="hr or en; left out, it is taken from the question, and is hr where that does not tell"
    )
    user: Name | None = Field(None, description="also search this user's private documents", examples=["u1"])
    collections: tuple[Name, ...] = Field((), description="search these only; none named: all", examples=[["zakoni"]])
    filter: Text | None = Field(
        None,
        description="comparisons of metadata.<key>, document_id, language or collection, joined by and, or, not",
        examples=["metadata.year >= 2018 and metadata.type == 'zakon'"],
    )
    top_k: int | None = Field(None, ge=1, description="passages to use; 8 if left out, at most 50")


class QueryRequest(SearchRequest):
    stream: bool = Field(True, description="server-sent events; false: one JSON object")
    max_tokens: int | None = Field(None, ge=1, description="length of the answer; 512 if left out, at most 4,096")
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)


class DocumentRequest(Wire):
    """One document as text."""

    id: Name | None = Field(
        None, description="left out, it is made from the text, so that the same text is the same document"
    )
    title: Text = Field("", max_length=512)
    text: Text = Field(min_length=1)
    collection: Name = "default"
    language: Language | None = Field(None, description="left out, it is taken from the text")
    user: Name | None = Field(None, description="make it this user's private document")
    metadata: Metadata = Field(default_factory=dict)
