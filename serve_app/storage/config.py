from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from deployments.config import Beyond, Config, Unit

_SQLITE = "sqlite:///"


class StoreConfig(Config):
    """The SQL database of keys, documents and jobs."""

    url: str = Field(
        "sqlite:///rag.db",
        description="`sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`; the password is the environment variable "
        "`RAG_DATABASE_PASSWORD`",
    )
    listen_url: str = Field(
        "",
        description="the PostgreSQL server itself, if `url` leads to a pooler such as PgBouncer: where replicas listen "
        "for changes that others make; the password is the same",
    )
    pool_size: Annotated[int, Unit("connections"), Beyond("a request waits for a connection")] = Field(
        5, ge=1, le=100, description="connections of one replica"
    )
    timeout_s: Annotated[float, Beyond("503")] = Field(
        10.0, gt=0, description="wait for a connection, for SQLite's write lock, or for one statement"
    )

    @field_validator("url")
    @classmethod
    def _supported(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("sqlite", "postgresql"):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if parts.scheme == "sqlite" and url.removeprefix(_SQLITE) in (url, "", ":memory:"):
            raise ValueError("must name a file: sqlite:///PATH")
        return _without_password(url)

    @field_validator("listen_url")
    @classmethod
    def _is_a_server(cls, url: str) -> str:
        if url and urlsplit(url).scheme != "postgresql":
            raise ValueError("must begin with postgresql://")
        return _without_password(url)

    @model_validator(mode="after")
    def _listens_to_its_server(self) -> Self:
        if self.listen_url and self.embedded:
            raise ValueError("listen_url: is for PostgreSQL, and url names a SQLite file; leave it out")
        return self

    @property
    def embedded(self) -> bool:
        """True for a SQLite file, which the processes of one machine share."""
        return self.url.startswith(_SQLITE)

    @property
    def path(self) -> Path:
        """The SQLite file of an embedded store."""
        return Path(self.url.removeprefix(_SQLITE))

    def resolved(self, folder: Path) -> StoreConfig:
        """The same with a SQLite path made absolute, relative ones lying in `folder`."""
        return self.model_copy(update={"url": f"{_SQLITE}{folder / self.path}"}) if self.embedded else self


def _without_password(url: str) -> str:
    if urlsplit(url).password is not None:
        raise ValueError("must not hold a password; set RAG_DATABASE_PASSWORD in the environment")
    return url


class BlobConfig(Config):
    """The store of uploaded bytes."""

    url: str = Field(
        "blobs",
        min_length=1,
        description="a folder, or an fsspec URL such as `s3://bucket/prefix`",
    )

    @property
    def embedded(self) -> bool:
        """True for a folder of this machine."""
        return "://" not in self.url

    def resolved(self, folder: Path) -> BlobConfig:
        """The same with a folder made absolute, relative ones lying in `folder`."""
        return self.model_copy(update={"url": str(folder / self.url)}) if self.embedded else self
