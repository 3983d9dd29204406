"""Answers to requests that carried an Idempotency-Key, kept for a while so that a repeated request gets the same one.

An answer may hold a secret (a new key's), so it is stored sealed under the caller's own key, which is stored nowhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import ColumnElement, delete, select, update

from deployments.errors import IdempotencyMismatch, RequestInProgress
from serve_app.platform.tenant_settings import require_open
from serve_app.storage.database import Database, insert
from serve_app.storage.tables import IdempotentRequest, of_tenant, utc_now


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a request, until it is kept or released. Once it ran out at `until` and another request
    took it over, keeping and releasing change nothing."""

    tenant_id: str
    key: str
    seal: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Idempotency:
    """`lease_s`: how long a request may be worked on before another one with its key may start, in case it died.

    `keep_s`: how long its answer is kept.
    """

    def __init__(
        self, database: Database, *, lease_s: float, keep_s: float, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.database = database
        self.lease_s = lease_s
        self.keep_s = keep_s
        self.clock = clock

    async def begin(self, tenant_id: str, key: str, fingerprint: str, secret: str) -> Claim | Answer:
        """The answer kept under the key, or the claim to make one.

        Raises IdempotencyMismatch if the key was used for another request, and RequestInProgress while the first
        request with it is being worked on. Raises NotFound for an unknown tenant.
        """
        now = self.clock()
        until = now + timedelta(seconds=self.lease_s)
        claim = Claim(tenant_id, hashlib.sha256(key.encode()).hexdigest(), secret, until)
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
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            old = IdempotentRequest.created_at <= now - timedelta(seconds=self.keep_s)
            await session.execute(delete(IdempotentRequest).where(old))
            made = await session.scalar(
                insert(session, IdempotentRequest).values(row).on_conflict_do_nothing().returning(IdempotentRequest.key)
            )
            if made is not None:
                return claim
            kept = await session.scalar(select(IdempotentRequest).where(*this).with_for_update())
            if kept is None:
                raise RequestInProgress("Idempotency-Key: the first request with it just ended; send it again")
            if kept.fingerprint != fingerprint:
                raise IdempotencyMismatch("Idempotency-Key was used for another request; choose a new one")
            if kept.status:
                return Answer(kept.status, kept.headers, _open(kept.body, secret))
            if kept.lease_until > now:
                raise RequestInProgress("Idempotency-Key: the first request with it is still being worked on; wait")
            kept.created_at, kept.lease_until = now, until
            await session.flush()
        return claim

    async def keep(self, claim: Claim, answer: Answer) -> None:
        """Store the answer, for every later request with its key."""
        sealed = _sealer(claim.seal).encrypt(answer.body)
        async with self.database.transaction() as session:
            await session.execute(
                update(IdempotentRequest)
                .where(*_claimed(claim))
                .values(status=answer.status, headers=dict(answer.headers), body=sealed)
            )

    async def release(self, claim: Claim) -> None:
        """Forget a request that came to nothing, so that the next one with its key is worked on."""
        async with self.database.transaction() as session:
            await session.execute(delete(IdempotentRequest).where(*_claimed(claim)))


def _claimed(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the request's row as long as this claim of it stands."""
    return (
        of_tenant(IdempotentRequest, claim.tenant_id),
        IdempotentRequest.key == claim.key,
        IdempotentRequest.lease_until == claim.until,
        IdempotentRequest.status == 0,
    )


def _sealer(secret: str) -> Fernet:
    """A caller's secret holds 256 random bits, so a plain hash of it is as good a key as any."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"idempotent answers\0" + secret.encode()).digest()))


def _open(sealed: bytes, secret: str) -> bytes:
    try:
        return _sealer(secret).decrypt(sealed)
    except InvalidToken:
        raise IdempotencyMismatch("Idempotency-Key was used with another key of yours; choose a new one") from None
