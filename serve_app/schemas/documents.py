"""Documents: how they are handed in, selected and changed, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from deployments.ingestion.omissions import MAX_WARNING_CHARACTERS, MAX_WARNINGS
from deployments.types import Language, Passage
from serve_app.platform.jobs import Accepted
from serve_app.platform.new_document import Upload
from serve_app.schemas.base import FilterText, From, Label, Name, Next, ResponseModel, Text, Time, Wire
from serve_app.schemas.metadata import Metadata

# --- Requests


class DocumentFields(Wire):
    """The fields of a document that is handed in, as text, URI or file."""

    id: Name | None = Field(
        None,
        description="by default made of the user, the collection, and the text or the URI or the name of the file",
    )
    title: Label = Field("", max_length=512)
    collection: Name = "default"
    language: Language | None = Field(None, description="by default taken from the text")
    user: Name | None = Field(None, description="make it this user's private document")
    metadata: Metadata = Field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """By the names of a document's columns, without its id."""
        fields = {name: getattr(self, name) for name in DocumentFields.model_fields if name not in ("id", "user")}
        return {"owner": self.user or "", **fields}


class DocumentRequest(DocumentFields):
    """One document, as text or by the URI that it is fetched from."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["text"]}, {"required": ["uri"]}]})

    text: Text | None = Field(None, min_length=1)
    uri: Text | None = Field(
        None,
        min_length=1,
        max_length=2_048,
        description="https://, s3:// or file://, as far as the service's `sources` allow; fetched before the answer",
        examples=["https://example.org/zakon.pdf"],
    )
    filename: Label = Field("", max_length=256, description="with a URI; by default the last part of its path")
    media_type: Text = Field("", max_length=255, description="with a URI; by default what its server says")

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


class UploadForm(DocumentFields):
    """The fields beside the files of a multipart upload; they hold for every file of it."""

    title: Label = ""
    bulk: Bulk = False


class DocumentPatch(Wire):
    metadata: Metadata = Field(
        description="a JSON merge patch: null removes a key", examples=[{"year": 2019, "draft": None}]
    )


OfCollection = Annotated[Name | None, Field(description="documents of this collection", examples=["zakoni"])]
OfUser = Annotated[
    Label | None,
    Field(max_length=256, description="this user's private documents; empty: those of the whole tenant"),
]
Reader = Annotated[
    Label | None,
    Field(
        max_length=256,
        description="read it for this user: another user's private document is then not found; empty: for no user",
    ),
]
IfLive = Annotated[bool | None, Field(description="true: documents that searches find; false: those not indexed yet")]


class DocumentSelection(Wire):
    """Selects documents. A document must match every field that is given."""

    collection: OfCollection = None
    user: OfUser = None
    live: IfLive = None
    filter: FilterText = None


class DocumentDeletion(DocumentSelection):
    """Selects documents to delete.

    An empty `user` names no one: it selects the documents of the whole tenant, and may be a client's empty variable.
    So it needs a collection, a filter or `all` beside it.
    """

    all: bool = Field(False, description="delete what matches although no collection, no filter and no user is named")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not (self.all or self.collection or self.filter or self.user):
            also = "; an empty user stands for all shared documents" if self.user is not None else ""
            raise ValueError(
                f'name a collection, a filter or a user, or send "all": true to delete all that match{also}'
            )
        return self


# --- Responses


class AcceptedDocument(ResponseModel):
    id: str
    filename: str


class AcceptedJob(ResponseModel):
    job_id: str
    document_id: str | None = Field(description="id of the document, if the job has only one")
    documents: list[AcceptedDocument]

    @classmethod
    def of(cls, job: Accepted, uploads: Sequence[Upload]) -> Self:
        """`uploads`: the job's documents, in their order."""
        documents = [
            AcceptedDocument(id=document_id, filename=upload.document.filename)
            for document_id, upload in zip(job.documents, uploads, strict=True)
        ]
        return cls(job_id=job.id, document_id=job.documents[0] if len(documents) == 1 else None, documents=documents)


Warnings = Annotated[
    list[Annotated[str, Field(max_length=MAX_WARNING_CHARACTERS)]],
    Field(
        max_length=MAX_WARNINGS,
        description="what was left out of the document; empty until it is indexed",
        examples=[["1 chart", "2 pictures without text"]],
    ),
]


class ListedDocument(ResponseModel):
    id: str
    title: str
    collection: str
    language: Language | None = Field(description="null until it is indexed, where none was given")
    user: Annotated[str | None, From(lambda document: document.owner or None)] = Field(
        description="whose private document it is; null: the whole tenant's"
    )
    filename: str
    media_type: str
    size: int = Field(description="in bytes")
    passages: int
    warnings: Warnings
    metadata: Annotated[dict[str, Any], From(lambda document: document.metadata_)]
    live: Annotated[bool, From(lambda document: bool(document.version))] = Field(description="whether searches find it")
    created_at: Time
    updated_at: Time


class Document(ListedDocument):
    version: Annotated[str | None, From(lambda document: document.version or None)] = Field(
        description="the version that searches find"
    )
    sha256: Annotated[str, From(lambda document: document.content_hash)] = Field(description="of its bytes")


class Documents(ResponseModel):
    documents: Annotated[list[ListedDocument], From(lambda page: page.rows)]
    next: Next


class DeletedDocuments(ResponseModel):
    deleted: int
    more: bool = Field(description="whether the time was over before all were looked at")


class DocumentChunk(ResponseModel):
    id: str
    position: int
    text: str
    metadata: dict[str, Any]


class DocumentChunks(ResponseModel):
    chunks: list[DocumentChunk]
    next: int | None = Field(description="`after` of the next page; null: this is the last one")

    @classmethod
    def of(cls, passages: Sequence[Passage], following: int | None) -> Self:
        return cls.model_validate({"chunks": passages, "next": following})
