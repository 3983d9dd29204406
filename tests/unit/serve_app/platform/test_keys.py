from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from deployments.errors import Conflict, InvalidRequest, NotFound, RateLimited, Unauthenticated
from serve_app.platform.keys import Keys, Principal, Role
from serve_app.platform.tenants import Tenants
from serve_app.platform.unknown_keys import LOOKUPS_AT_ONCE, UnknownKeys
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM
from tests.support.storage import Clock


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock=clock, timer=clock.monotonic)


async def test_a_key_speaks_for_its_tenant_and_role(keys: Keys) -> None:
    for role in ("admin", "query"):
        secret, key = await keys.create_key("a", "CI", role=role)
        assert await keys.authenticate(secret) == Principal("a", role, key.id)
        assert secret.startswith(f"rag_{key.prefix}_")
        assert len(secret.removeprefix(f"rag_{key.prefix}_")) == 43, "256 bits in base64"


async def test_the_secret_is_stored_nowhere(keys: Keys, database: Database) -> None:
    secret, key = await keys.create_key("a", "CI")
    async with database.session() as session:
        row = (await session.execute(text("SELECT * FROM api_keys"))).one()
    assert secret not in str(row)
    assert secret[13:] not in str(row)  # what follows the prefix; it may hold a `_` itself
    assert secret not in str(key)


async def test_what_is_not_a_key_is_refused(keys: Keys) -> None:
    secret, key = await keys.create_key("a", "CI")
    other, _ = await keys.create_key("a", "other")
    mixed = f"rag_{key.prefix}_{other[13:]}"
    for wrong in ("", "rag_", secret[:-1], secret + "x", secret.swapcase(), mixed, f"{secret}\n", "ž" * 56):
        with pytest.raises(Unauthenticated):
            await keys.authenticate(wrong)


async def test_keys_with_the_same_prefix_are_told_apart(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.keys.secrets.token_hex", lambda size: "0" * 2 * size)
    made = [await keys.create_key(tenant, "CI") for tenant in ("a", "b")]
    assert [(await keys.authenticate(secret)).tenant_id for secret, _ in made] == ["a", "b"]


async def test_a_revoked_key_ends_at_once_here_and_soon_elsewhere(keys: Keys, database: Database, clock: Clock) -> None:
    elsewhere = Keys(database, clock=clock, timer=clock.monotonic)
    secret, key = await keys.create_key("a", "CI")
    for each in (keys, elsewhere):
        await each.authenticate(secret)
    for _ in range(2):
        await keys.revoke("a", key.id)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(secret)
    clock.advance(5)
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(secret)


async def test_another_tenants_key_cannot_be_revoked(keys: Keys) -> None:
    secret, key = await keys.create_key("a", "CI")
    for tenant, key_id in (("b", key.id), ("a", "key_unknown")):
        with pytest.raises(NotFound):
            await keys.revoke(tenant, key_id)
    await keys.authenticate(secret)


async def test_an_expired_key_ends_on_time_though_remembered(keys: Keys, clock: Clock) -> None:
    secret, _ = await keys.create_key("a", "CI", expires_at=clock() + timedelta(seconds=3))
    clock.advance(2)
    await keys.authenticate(secret)
    clock.advance(1)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(secret)


async def test_an_end_that_has_passed_is_refused(keys: Keys, clock: Clock) -> None:
    with pytest.raises(InvalidRequest, match="expires_at: has passed"):
        await keys.create_key("a", "CI", expires_at=clock())


async def test_both_keys_work_until_the_overlap_is_over(keys: Keys, database: Database, clock: Clock) -> None:
    elsewhere = Keys(database, clock=clock, timer=clock.monotonic)
    old_secret, old = await keys.create_key("a", "CI", role="query")
    for each in (keys, elsewhere):
        await each.authenticate(old_secret)
    new_secret, new = await keys.rotate("a", old.id, overlap_s=60)
    assert new == replace(old, id=new.id, prefix=new.prefix)
    assert new_secret != old_secret
    clock.advance(59.9)
    for secret, key in ((old_secret, old), (new_secret, new)):
        assert await keys.authenticate(secret) == Principal("a", "query", key.id)
    clock.advance(0.1)
    for each in (keys, elsewhere):
        with pytest.raises(Unauthenticated):
            await each.authenticate(old_secret)
    await keys.authenticate(new_secret)


async def test_rotated_without_overlap_a_key_ends_at_once_here_and_soon_elsewhere(
    keys: Keys, database: Database, clock: Clock
) -> None:
    elsewhere = Keys(database, clock=clock, timer=clock.monotonic)
    secret, key = await keys.create_key("a", "CI")
    for each in (keys, elsewhere):
        await each.authenticate(secret)
    await keys.rotate("a", key.id, overlap_s=0)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(secret)
    clock.advance(5)
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(secret)


async def test_rotation_prolongs_no_key(keys: Keys, clock: Clock) -> None:
    end = clock() + timedelta(seconds=30)
    old_secret, old = await keys.create_key("a", "CI", expires_at=end)
    new_secret, new = await keys.rotate("a", old.id, overlap_s=3_600)
    assert new.expires_at == end
    clock.advance(30)
    for secret in (old_secret, new_secret):
        with pytest.raises(Unauthenticated):
            await keys.authenticate(secret)


async def test_a_key_that_has_ended_has_no_successor(keys: Keys, clock: Clock) -> None:
    _, revoked = await keys.create_key("a", "CI")
    await keys.revoke("a", revoked.id)
    _, expired = await keys.create_key("a", "CI", expires_at=clock() + timedelta(seconds=1))
    clock.advance(1)
    for key in (revoked, expired):
        with pytest.raises(Conflict, match="has ended; create a new one"):
            await keys.rotate("a", key.id, overlap_s=60)


@pytest.mark.every_database
async def test_of_two_rotations_at_once_each_has_its_successor(keys: Keys) -> None:
    _, key = await keys.create_key("a", "CI")
    made = await asyncio.gather(*(keys.rotate("a", key.id, overlap_s=60) for _ in range(2)))
    for secret, successor in made:
        assert (await keys.authenticate(secret)).key_id == successor.id


async def test_another_tenants_key_cannot_be_rotated(keys: Keys) -> None:
    _, key = await keys.create_key("a", "CI")
    for tenant, key_id in (("b", key.id), ("a", "key_unknown")):
        with pytest.raises(NotFound):
            await keys.rotate(tenant, key_id, overlap_s=0)
    assert len(await keys.list("a")) == 1


async def test_a_tenants_keys_are_listed_oldest_first_without_secrets(keys: Keys, clock: Clock) -> None:
    first_secret, first = await keys.create_key("a", "first", "query")
    clock.advance(1)
    _, second = await keys.create_key("a", "second", expires_at=clock() + timedelta(days=1))
    await keys.create_key("b", "other")
    await keys.revoke("a", first.id)
    listed = await keys.list("a")
    assert listed == [replace(first, revoked_at=clock()), second]
    assert first_secret not in str(listed)


async def test_a_platform_key_belongs_to_no_tenant(keys: Keys) -> None:
    secret, key = await keys.create_key(PLATFORM, "operator", "platform")
    assert await keys.authenticate(secret) == Principal(PLATFORM, "platform", key.id)
    assert await keys.list("a") == []
    assert await keys.list(PLATFORM) == [key]


@pytest.mark.parametrize(("tenant", "role"), [("a", "platform"), (PLATFORM, "admin"), (PLATFORM, "query")])
async def test_a_role_and_its_tenant_must_agree(keys: Keys, tenant: str, role: Role) -> None:
    with pytest.raises(InvalidRequest, match="role: a platform key belongs to no tenant"):
        await keys.create_key(tenant, "CI", role)


async def test_a_good_key_is_looked_up_once_in_five_seconds(keys: Keys, database: Database, clock: Clock) -> None:
    secret, _ = await keys.create_key("a", "CI")
    looked_up: list[str] = []
    async with database.session() as session:
        engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: looked_up.append(arguments[2]))
    for seconds, times in ((0, 1), (4.9, 1), (0.1, 2), (4.9, 2), (0.1, 3)):
        clock.advance(seconds)
        clock.set_back(60)
        await keys.authenticate(secret)
        assert sum("api_keys" in statement for statement in looked_up) == times


async def test_the_cache_of_valid_keys_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.keys.MAX_CACHED_KEYS", 2)
    keys = Keys(database)
    for _ in range(4):
        secret, _ = await keys.create_key("a", "CI")
        await keys.authenticate(secret)
    assert len(keys._valid) == 2


async def test_a_key_needs_a_tenant(keys: Keys) -> None:
    with pytest.raises(NotFound, match="'nobody' does not exist"):
        await keys.create_key("nobody", "CI")


@pytest.mark.parametrize("tenant", ["", "..", ".a", "a/b", "a b", "č", "x" * 65, "a\n"])
async def test_a_tenants_id_follows_the_rule(keys: Keys, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match="tenant"):
        await Tenants(keys.database).ensure(tenant)


@pytest.mark.every_database
async def test_a_tenant_may_be_ensured_again(keys: Keys) -> None:
    await Tenants(keys.database).ensure("a")
    await Tenants(keys.database).ensure("acme.hr-1", "Acme")


async def count_lookups(database: Database) -> Callable[[], int]:
    """What tells how many lookups of keys there were from now on."""
    statements: list[str] = []
    async with database.session() as session:
        engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    return lambda: sum("FROM api_keys" in statement for statement in statements)


def made_up(number: int) -> str:
    return f"rag_00000000_{number:043}"


async def test_an_unknown_key_is_looked_up_once_in_two_seconds(keys: Keys, database: Database, clock: Clock) -> None:
    lookups = await count_lookups(database)
    for seconds, times in ((0.0, 1), (1.9, 1), (0.1, 2), (1.9, 2)):
        clock.advance(seconds)
        with pytest.raises(Unauthenticated):
            await keys.authenticate(made_up(1))
        assert lookups() == times


async def test_a_new_key_works_at_once_wherever_it_was_made(keys: Keys, database: Database, clock: Clock) -> None:
    """Also where it was tried before, as if another replica had refused it, and where its address tries many keys."""
    elsewhere = Keys(database, clock=clock, timer=clock.monotonic)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(made_up(1), address="192.0.2.1")
    for maker, user in ((elsewhere, keys), (keys, elsewhere), (keys, keys)):
        secret, key = await maker.create_key("a", "CI")
        assert (await user.authenticate(secret, address="192.0.2.1")).key_id == key.id


async def test_a_key_made_here_works_though_its_secret_was_refused(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.keys.secrets.token_hex", lambda size: "0" * 2 * size)
    monkeypatch.setattr("serve_app.platform.keys.secrets.token_urlsafe", lambda size: f"{1:043}")
    with pytest.raises(Unauthenticated):
        await keys.authenticate(made_up(1))
    secret, key = await keys.create_key("a", "CI")
    assert secret == made_up(1)
    assert (await keys.authenticate(secret)).key_id == key.id


async def test_an_address_may_try_few_unknown_keys_and_others_are_not_refused(database: Database, clock: Clock) -> None:
    keys = Keys(database, unknown=UnknownKeys(6, 2, clock.monotonic), clock=clock, timer=clock.monotonic)
    used, _ = await keys.create_key("a", "used before")
    await keys.authenticate(used, address="192.0.2.1")
    lookups = await count_lookups(database)
    tried = await asyncio.gather(
        *(keys.authenticate(made_up(n), address="192.0.2.1") for n in range(50)), return_exceptions=True
    )
    assert lookups() <= 6 + LOOKUPS_AT_ONCE
    refused = [error for error in tried if isinstance(error, RateLimited)]
    assert len(refused) == 50 - lookups()
    assert all(0 < (error.retry_after_s or 0) <= 60 for error in refused)
    clock.advance(5)
    with pytest.raises(RateLimited, match="too many unknown keys came from your address"):
        await keys.authenticate(made_up(50), address="192.0.2.1")
    await keys.authenticate(used, address="192.0.2.1")
    new, _ = await keys.create_key("a", "new")
    await keys.authenticate(new, address="192.0.2.2")
    clock.advance(60)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(made_up(51), address="192.0.2.1")


async def test_valid_keys_are_not_counted(database: Database, clock: Clock) -> None:
    keys = Keys(database, unknown=UnknownKeys(1, 2, clock.monotonic), clock=clock, timer=clock.monotonic)
    made = [(await keys.create_key("a", "CI"))[0] for _ in range(20)]
    await asyncio.gather(*(keys.authenticate(secret, address="192.0.2.1") for secret in made))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
async def test_the_addresses_of_one_ipv6_network_are_one_client(first: str, second: str, same: bool) -> None:
    unknown = UnknownKeys(1, 2)
    unknown.count(first)
    with pytest.raises(RateLimited) if same else nullcontext():
        async with unknown.lookup(second):
            pass


async def test_what_is_remembered_of_unknown_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.unknown_keys.MAX_UNKNOWN_KEYS", 2)
    monkeypatch.setattr("serve_app.platform.unknown_keys.MAX_ADDRESSES", 2)
    unknown = UnknownKeys(1, 2)
    for n in range(4):
        unknown.add(str(n))
        unknown.count(f"192.0.2.{n}")
    assert (len(unknown._digests), len(unknown._tries)) == (2, 2)
