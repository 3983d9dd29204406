"""What every table is made of: the base classes, times in UTC, and the one place that confines a query to a tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TextClause,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored and returned as UTC; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database; pass an aware one")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


def utc_now() -> datetime:
    return datetime.now(UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Since 1970. Exact, as the seconds of `timestamp` are not."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    return _EPOCH + count * _MICROSECOND


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        str: Text,
        bytes: LargeBinary,
    }


PLATFORM = "_platform"
"""The row that platform keys, and what is logged of them, belong to: no tenant's id can begin like this."""


class TenantOwned(Base):
    """A row that belongs to one tenant."""

    __abstract__ = True

    tenant_id: Mapped[str] = mapped_column(String(64), ForeignKey("tenants.id"))


def of_tenant(model: type[TenantOwned], tenant_id: str) -> ColumnElement[bool]:
    """The condition that confines a query to a tenant's rows.

    Only two kinds of queries do without it. Some come before a tenant is known: a key's. Others serve all tenants: a
    worker's claim, and the removal of what nobody needs any longer.
    """
    if not tenant_id:
        raise ValueError("tenant_id is empty")
    return model.tenant_id == tenant_id


def partial_index(name: str | None, *columns: str, where: TextClause) -> Index:
    """An index of the rows that fulfil a condition. A query must state it in the same words to use the index."""
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)
