"""Bearer keys: whom a request speaks for."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast
from uuid import uuid4

from cachetools import LRUCache, TTLCache
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Conflict, InvalidRequest, NotFound, Unauthenticated
from serve_app.platform.events import Event, Events
from serve_app.platform.key_uses import KeyUses
from serve_app.platform.tenant_settings import require_open
from serve_app.platform.unknown_keys import UNKNOWN_KEY_CACHE_S, UNKNOWN_KEYS_PER_MINUTE, UnknownKeys
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM, of_tenant, utc_now
from serve_app.storage.tables import ApiKey

Role = Literal["platform", "admin", "query"]
MAX_CACHED_KEYS = 10_000
_SECRET = re.compile(r"rag_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a key speaks for. A `query` key may ask, an `admin` key also change what is its tenant's. A `platform` key
    acts for any tenant that the request names, and manages tenants; its own `tenant_id` is PLATFORM.
    """

    tenant_id: str
    role: Role
    key_id: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; `prefix` is the part of the secret that may be shown. `last_used_at` may be a minute
    old, and is None for a key that was not used yet."""

    id: str
    tenant_id: str
    name: str
    prefix: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class Keys:
    """Valid keys are cached for `cache_s` seconds: so long may a key that another replica revoked go on working here.

    Unknown secrets are kept in `unknown`, which also limits how many a client may try. A key that was valid here before
    is looked up without that limit. `uses` are written once it is started.
    """

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        cache_s: float = 5.0,
        unknown: UnknownKeys | None = None,
        clock: Callable[[], datetime] = utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.clock = clock
        self.uses = KeyUses(database, clock=clock)
        self._unknown = unknown or UnknownKeys(UNKNOWN_KEYS_PER_MINUTE, UNKNOWN_KEY_CACHE_S, timer)
        self._once_valid: LRUCache[str, None] = LRUCache(MAX_CACHED_KEYS)
        self._valid: TTLCache[str, tuple[Principal, datetime | None]] = TTLCache(MAX_CACHED_KEYS, cache_s, timer)

    async def create_key(
        self, tenant_id: str, name: str, role: Role = "admin", *, expires_at: datetime | None = None
    ) -> tuple[str, Key]:
        """A new key of an existing tenant (of PLATFORM, if it is a platform key): its secret, stored nowhere and never
        shown again, and its record. Raises NotFound, InvalidRequest.

        The secret holds 256 random bits, so a plain SHA-256 of it cannot be searched; a slow password hash would
        only slow down every request.
        """
        if (role == "platform") is not (tenant_id == PLATFORM):
            raise InvalidRequest("role: a platform key belongs to no tenant, and every other key to one", field="role")
        if expires_at is not None and expires_at <= self.clock():
            raise InvalidRequest(
                "expires_at: has passed; give a later time, or leave it out for a key that stays", field="expires_at"
            )
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            secret, key = self._add(session, tenant_id, name, role, expires_at)
            await session.flush()
        self.events.publish(Event("key.created", tenant_id, key.id, {"role": role}))
        return secret, key

    async def rotate(self, tenant_id: str, key_id: str, *, overlap_s: float) -> tuple[str, Key]:
        """A successor with the same name, role and end. The old key goes on working for `overlap_s` seconds, so that
        its users can change over. Raises NotFound, Conflict for a key that has ended.
        """
        now = self.clock()
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            old = await session.scalar(
                select(ApiKey).where(of_tenant(ApiKey, tenant_id), ApiKey.id == key_id).with_for_update()
            )
            if old is None:
                raise NotFound(f"key {key_id[:80]!r} does not exist")
            if old.revoked_at is not None or _over(old.expires_at, now):
                raise Conflict(f"key {key_id!r} has ended; create a new one")
            secret, key = self._add(session, tenant_id, old.name, cast(Role, old.role), old.expires_at)
            end = now + timedelta(seconds=overlap_s)
            old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
            await session.flush()
        self._forget(key_id)
        self.events.publish(Event("key.rotated", tenant_id, key_id, {"successor": key.id}))
        return secret, key

    def _add(
        self, session: AsyncSession, tenant_id: str, name: str, role: Role, expires_at: datetime | None
    ) -> tuple[str, Key]:
        prefix = secrets.token_hex(4)
        secret = f"rag_{prefix}_{secrets.token_urlsafe(32)}"
        key = Key(f"key_{uuid4().hex}", tenant_id, name, prefix, role, self.clock(), expires_at)
        digest = _hash(secret)
        self._unknown.discard(digest)
        session.add(
            ApiKey(
                id=key.id,
                tenant_id=tenant_id,
                name=name,
                prefix=prefix,
                hash=digest,
                role=role,
                created_at=key.created_at,
                expires_at=expires_at,
            )
        )
        return secret, key

    async def authenticate(self, secret: str, *, address: str = "") -> Principal:
        """Whom a secret speaks for. `address`: the client's. The key counts as used.

        Raises Unauthenticated if it is unknown, expired or revoked (not told apart), and RateLimited without looking it
        up if the client has tried too many of these.
        """
        principal = await self._authenticate(secret, address)
        self.uses.note(principal.key_id)
        return principal

    async def _authenticate(self, secret: str, address: str) -> Principal:
        """Raises Unauthenticated, RateLimited."""
        match = _SECRET.fullmatch(secret)
        if match is None:
            raise Unauthenticated("the key is not valid")
        digest, now = _hash(secret), self.clock()
        principal, expires_at = self._valid.get(digest, (None, None))
        if principal is not None and not _over(expires_at, now):
            return principal
        if digest in self._unknown:
            raise Unauthenticated("the key is not valid")
        if digest in self._once_valid:
            return await self._looked_up(match[1], digest)
        async with self._unknown.lookup(address):
            if digest in self._unknown:  # another request with it was looked up meanwhile
                raise Unauthenticated("the key is not valid")
            try:
                return await self._looked_up(match[1], digest)
            except Unauthenticated:
                self._unknown.count(address)
                raise

    async def _looked_up(self, prefix: str, digest: str) -> Principal:
        """Raises Unauthenticated."""
        async with self.database.session() as session:
            rows = (await session.scalars(select(ApiKey).where(ApiKey.prefix == prefix))).all()
        row = next((row for row in rows if hmac.compare_digest(row.hash, digest)), None)
        if row is None or row.revoked_at is not None or _over(row.expires_at, self.clock()):
            self._once_valid.pop(digest, None)
            self._unknown.add(digest)
            raise Unauthenticated("the key is not valid")
        principal = Principal(row.tenant_id, cast(Role, row.role), row.id)
        self._valid[digest] = principal, row.expires_at
        self._once_valid[digest] = None
        return principal

    async def list(self, tenant_id: str) -> Sequence[Key]:
        """A tenant's keys, the oldest first, those that have ended too."""
        async with self.database.session() as session:
            rows = await session.scalars(
                select(ApiKey).where(of_tenant(ApiKey, tenant_id)).order_by(ApiKey.created_at, ApiKey.id)
            )
            return [
                Key(
                    row.id,
                    row.tenant_id,
                    row.name,
                    row.prefix,
                    cast(Role, row.role),
                    row.created_at,
                    row.expires_at,
                    row.revoked_at,
                    row.last_used_at,
                )
                for row in rows
            ]

    async def revoke(self, tenant_id: str, key_id: str) -> None:
        """End a key: at once here, within `cache_s` in other replicas. Idempotent. Raises NotFound."""
        async with self.database.transaction() as session:
            key = await session.scalar(select(ApiKey.id).where(of_tenant(ApiKey, tenant_id), ApiKey.id == key_id))
            if key is None:
                raise NotFound(f"key {key_id[:80]!r} does not exist")
            await session.execute(
                update(ApiKey)
                .where(of_tenant(ApiKey, tenant_id), ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
                .values(revoked_at=self.clock())
            )
        self._forget(key_id)
        self.events.publish(Event("key.revoked", tenant_id, key_id))

    def forget_tenant(self, tenant_id: str) -> None:
        """End the keys of a deleted tenant: at once here, within `cache_s` in other replicas.

        Otherwise they would be valid for a new tenant of that id.
        """
        self._forget_all(lambda principal: principal.tenant_id == tenant_id)

    def _forget(self, key_id: str) -> None:
        self._forget_all(lambda principal: principal.key_id == key_id)

    def _forget_all(self, is_over: Callable[[Principal], bool]) -> None:
        digests = [digest for digest, (principal, _) in self._valid.items() if is_over(principal)]
        for digest in digests:
            self._valid.pop(digest, None)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _over(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is not None and expires_at <= now
