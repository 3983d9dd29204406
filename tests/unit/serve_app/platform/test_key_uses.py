from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from deployments.errors import Unauthenticated, Unavailable
from serve_app.platform import key_uses
from serve_app.platform.key_uses import WRITE_EVERY_S, KeyUses
from serve_app.platform.keys import Keys
from serve_app.storage.database import Database
from tests.support.query_plans import recorded
from tests.support.storage import Clock
from tests.support.waiting import BOUND_S


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock=clock, timer=clock.monotonic)


async def last_used(keys: Keys, tenant: str = "a") -> list[datetime | None]:
    return [key.last_used_at for key in await keys.list(tenant)]


@pytest.mark.every_database
async def test_a_key_s_last_use_is_listed_once_it_is_written(keys: Keys, clock: Clock) -> None:
    used, _ = await keys.create_key("a", "used")
    clock.advance(1)
    await keys.create_key("a", "unused")
    await keys.authenticate(used)
    clock.advance(2)
    last = clock.now
    await keys.authenticate(used)  # from the cache
    assert await last_used(keys) == [None, None], "no request writes it"
    clock.advance(30)
    await keys.uses.write()
    assert await last_used(keys) == [last, None]


@pytest.mark.every_database
async def test_the_latest_of_all_replicas_uses_stays(keys: Keys, database: Database, clock: Clock) -> None:
    _, key = await keys.create_key("a", "used")
    early, late = KeyUses(database, clock=clock), KeyUses(database, clock=clock)
    early.note(key.id)
    clock.advance(5)
    late.note(key.id)
    await late.write()
    await early.write()
    assert await last_used(keys) == [clock.now]


async def test_a_refused_secret_is_no_use(keys: Keys) -> None:
    secret, key = await keys.create_key("a", "ended")
    await keys.revoke("a", key.id)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(secret)
    await keys.uses.write()
    assert await last_used(keys) == [None]


async def test_keys_that_were_not_used_are_not_written(keys: Keys, database: Database) -> None:
    secret, _ = await keys.create_key("a", "used")
    await keys.authenticate(secret)
    with recorded(database) as run:
        for _ in range(3):
            await keys.uses.write()
    assert len([each for each, _ in run.statements if each.startswith("UPDATE api_keys")]) == 1


async def test_what_could_not_be_written_waits_for_the_next_time(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    secret, _ = await keys.create_key("a", "used")
    await keys.authenticate(secret)

    async def gone(rows: object) -> None:
        raise Unavailable("the database is busy or gone")

    with monkeypatch.context() as patch:
        patch.setattr(keys.uses, "_write", gone)
        with pytest.raises(Unavailable):
            await keys.uses.write()
    await keys.uses.write()
    assert await last_used(keys) == [clock.now]


async def test_uses_of_only_so_many_keys_are_remembered(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(key_uses, "MAX_KEYS", 1)
    made = []
    for name in ("first", "second"):
        made.append(await keys.create_key("a", name))
        clock.advance(1)
    for secret, _ in [*made, made[0]]:
        await keys.authenticate(secret)
    await keys.uses.write()
    assert await last_used(keys) == [clock.now, None]


async def test_uses_are_written_once_in_a_while(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WRITE_EVERY_S == 60
    monkeypatch.setattr(key_uses, "WRITE_EVERY_S", 0.01)
    secret, _ = await keys.create_key("a", "used")
    write, written = keys.uses._write, asyncio.Event()

    async def noticed(rows: list[dict[str, object]]) -> None:
        await write(rows)
        written.set()

    monkeypatch.setattr(keys.uses, "_write", noticed)
    keys.uses.start()
    await keys.authenticate(secret)
    async with asyncio.timeout(BOUND_S):
        await written.wait()
    await keys.uses.close()
    assert await last_used(keys) != [None]
