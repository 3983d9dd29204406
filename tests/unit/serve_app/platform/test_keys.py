from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, text

from deployments.errors import InvalidRequest, NotFound, Unauthenticated
from serve_app.platform.database import Database
from serve_app.platform.keys import Keys, Principal
from serve_app.platform.tenants import Tenants
from tests.support.storage import Clock


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock=clock)


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
    assert secret.rpartition("_")[2] not in str(row)
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
    elsewhere = Keys(database, clock=clock)
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


async def test_a_good_key_is_looked_up_once_in_five_seconds(keys: Keys, database: Database, clock: Clock) -> None:
    secret, _ = await keys.create_key("a", "CI")
    looked_up: list[str] = []
    async with database.session() as session:
        engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: looked_up.append(arguments[2]))
    for seconds, times in ((0, 1), (4.9, 1), (0.1, 2), (-60, 3)):
        clock.advance(seconds)
        await keys.authenticate(secret)
        assert sum("api_keys" in statement for statement in looked_up) == times


async def test_the_memory_of_good_keys_is_bounded(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.keys._MAX_CACHED", 2)
    for _ in range(4):
        secret, _ = await keys.create_key("a", "CI")
        await keys.authenticate(secret)
    assert len(keys._good) == 2


async def test_a_key_needs_a_tenant(keys: Keys) -> None:
    with pytest.raises(NotFound, match="'nobody' does not exist"):
        await keys.create_key("nobody", "CI")


@pytest.mark.parametrize("tenant", ["", "..", ".a", "a/b", "a b", "č", "x" * 65, "a\n"])
async def test_a_tenants_id_follows_the_rule(keys: Keys, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match="tenant"):
        await Tenants(keys.database).ensure(tenant)


async def test_a_tenant_may_be_ensured_again(keys: Keys) -> None:
    await Tenants(keys.database).ensure("a")
    await Tenants(keys.database).ensure("acme.hr-1", "Acme")
