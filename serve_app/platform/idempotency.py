"""Answers to requests that carried an Idempotency-Key, kept for a while so that a repeated request gets the same one.

Answers are stored sealed under the Idempotency-Key, of which the database has a hash only. So a tenant's request may
be sent again with another key of the tenant, such as the successor of one that was rotated. An answer that shows a
secret, such as a new key, is sealed under the key of its caller, which is stored nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import ColumnElement, delete, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import IdempotencyMismatch, RequestInProgress
from serve_app.platform.retention_config import KEPT_ANSWER_BYTES, KEPT_ANSWERS_BYTES
from serve_app.platform.tenant_settings import require_open
from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.tables import IdempotentRequest

logger = logging.getLogger(__name__)
_INLINE_BYTES: Final = 64 * 1024
"""What is sealed and opened on the event loop, in less than a millisecond. More of it, in a thread."""
_DROPPED_AT_ONCE: Final = 100
_SHOWS_SECRET: Final = re.compile(rb"rag_[0-9a-f]{8}_[A-Za-z0-9_-]{43}|whsec_[A-Za-z0-9+/]{32}")
"""A key, or the secret of a webhook."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a request, until it is kept or released. Once it ran out at `until` and another request
    took it over, keeping and releasing change nothing."""

    tenant_id: str
    key: str
    seals: _Seals
    until: datetime
    is_question: bool = False
    """Whether the answer may be dropped before its time, for newer ones."""


@dataclass(frozen=True, slots=True)
class _Seals:
    """What answers are sealed under: the request's Idempotency-Key, or `secret`, the caller's own key."""

    idempotency_key: str = field(repr=False)
    secret: str = field(repr=False)

    def seal(self, body: bytes) -> bytes:
        return _sealer(self.secret if _SHOWS_SECRET.search(body) else self.idempotency_key).encrypt(body)

    def open(self, sealed: bytes) -> bytes:
        """Raises IdempotencyMismatch for an answer that was sealed under another caller's key."""
        for material in (self.idempotency_key, self.secret):
            with suppress(InvalidToken):
                return _sealer(material).decrypt(sealed)
        raise IdempotencyMismatch(
            "Idempotency-Key: the kept answer shows a secret, and only the key that asked for it may see it; "
            "revoke what that request made, and choose a new Idempotency-Key"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Idempotency:
    """`lease_s`: how long a request may be worked on before another one with its key may start, in case it died.

    `keep_s`: how long its answer is kept. Rows of older ones are removed by the sweeper (see retention.py).
    `max_answer_bytes`: larger answers are not kept. `max_tenant_bytes`: what a tenant's answers to questions may take.
    The oldest make room for new ones.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        keep_s: float,
        max_answer_bytes: int = KEPT_ANSWER_BYTES,
        max_tenant_bytes: int = KEPT_ANSWERS_BYTES,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.lease_s = lease_s
        self.keep_s = keep_s
        self.max_answer_bytes = max_answer_bytes
        self.max_tenant_bytes = max_tenant_bytes
        self.clock = clock

    async def begin(
        self, tenant_id: str, key: str, fingerprint: str, secret: str, *, user: str = "", is_question: bool = False
    ) -> Claim | Answer:
        """The answer kept under the key, or the claim to make one. Each user of a tenant has keys of their own.

        Raises IdempotencyMismatch if the key was used for another request, and RequestInProgress while the first
        request with it is being worked on. Raises NotFound for an unknown tenant.
        """
        now = self.clock()
        until = now + timedelta(seconds=self.lease_s)
        named = key.encode() + (b"\0" + user.encode() if user else b"")
        claim = Claim(tenant_id, hashlib.sha256(named).hexdigest(), _Seals(key, secret), until, is_question)
        row = {
            "tenant_id": tenant_id,
            "key": claim.key,
            "fingerprint": fingerprint,
            "status": 0,
            "headers": {},
            "body": b"",
            "created_at": now,
            "lease_until": until,
        }
        this = (of_tenant(IdempotentRequest, tenant_id), IdempotentRequest.key == claim.key)
        is_old = IdempotentRequest.created_at <= now - timedelta(seconds=self.keep_s)
        # A repetition writes nothing, so that many of them hold up no other tenant's writes.
        columns = (getattr(IdempotentRequest, name) for name in ("fingerprint", "status", "headers", "body"))
        for kept in await self.database.rows(select(*columns, IdempotentRequest.lease_until).where(*this, ~is_old)):
            if _is_answered(kept, fingerprint, now):
                return await _opened(claim, kept)
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            await session.execute(delete(IdempotentRequest).where(*this, is_old))
            made = await session.scalar(
                insert(session, IdempotentRequest).values(row).on_conflict_do_nothing().returning(IdempotentRequest.key)
            )
            if made is not None:
                return claim
            kept = await session.scalar(select(IdempotentRequest).where(*this).with_for_update())
            if kept is None:
                raise RequestInProgress("Idempotency-Key: the first request with it just ended; send it again")
            if not _is_answered(kept, fingerprint, now):
                kept.created_at, kept.lease_until = now, until
                await session.flush()
                return claim
        return await _opened(claim, kept)

    async def keep(self, claim: Claim, answer: Answer) -> None:
        """Store the answer, for every later request with its key. One that is too large is forgotten instead."""
        if len(answer.body) > self.max_answer_bytes:
            logger.warning(
                "an answer of %d bytes is not kept for its Idempotency-Key: more than %d (api.kept_answer_bytes)",
                len(answer.body),
                self.max_answer_bytes,
            )
            await self.release(claim)
            return
        sealed = await _aside(claim.seals.seal, answer.body)
        size = len(sealed) if claim.is_question else 0
        async with self.database.transaction() as session:
            await session.execute(
                update(IdempotentRequest)
                .where(*_claimed(claim))
                .values(status=answer.status, headers=dict(answer.headers), body=sealed, size=size)
            )
            if size:
                await self._make_room(session, claim.tenant_id)

    async def _make_room(self, session: AsyncSession, tenant_id: str) -> None:
        """Drop a tenant's oldest answers to questions, as long as all of them take more than they may."""
        row = IdempotentRequest
        total = select(func.sum(row.size)).where(of_tenant(row, tenant_id), _is_question())
        excess = int(await session.scalar(total) or 0) - self.max_tenant_bytes
        while excess > 0:
            oldest = select(row.key, row.size).where(of_tenant(row, tenant_id), _is_question()).order_by(row.created_at)
            dropped = []
            for key, size in (await session.execute(oldest.limit(_DROPPED_AT_ONCE))).all():
                if excess > 0:
                    dropped.append(key)
                    excess -= size
            await session.execute(delete(row).where(of_tenant(row, tenant_id), row.key.in_(dropped)))

    async def release(self, claim: Claim) -> None:
        """Forget a request that came to nothing, so that the next one with its key is worked on."""
        async with self.database.transaction() as session:
            await session.execute(delete(IdempotentRequest).where(*_claimed(claim)))


def _is_answered(kept: Any, fingerprint: str, now: datetime) -> bool:
    """Whether a row has the answer to a request; else the request is to be worked on again. Raises as `begin` does."""
    if kept.fingerprint != fingerprint:
        raise IdempotencyMismatch("Idempotency-Key was used for another request; choose a new one")
    if not kept.status and kept.lease_until > now:
        raise RequestInProgress("Idempotency-Key: the first request with it is still being worked on; wait")
    return bool(kept.status)


async def _opened(claim: Claim, kept: Any) -> Answer:
    return Answer(kept.status, kept.headers, await _aside(claim.seals.open, kept.body))


def _claimed(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the request's row as long as this claim of it stands."""
    return (
        of_tenant(IdempotentRequest, claim.tenant_id),
        IdempotentRequest.key == claim.key,
        IdempotentRequest.lease_until == claim.until,
        IdempotentRequest.status == 0,
    )


def _is_question() -> ColumnElement[bool]:
    """The condition on answers that may be dropped, as the index of these has it."""
    return IdempotentRequest.size > literal_column("0")


async def _aside(work: Callable[[bytes], bytes], body: bytes) -> bytes:
    """Seal or open a body. A large one would hold up the event loop."""
    return work(body) if len(body) <= _INLINE_BYTES else await asyncio.to_thread(work, body)


def _sealer(material: str) -> Fernet:
    """A plain hash does: a caller's secret holds 256 random bits, and what is sealed under less shows no secret."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"idempotent answers\0" + material.encode()).digest()))
