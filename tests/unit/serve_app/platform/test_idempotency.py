from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from deployments.errors import IdempotencyMismatch, NotFound, RequestInProgress
from serve_app.platform.idempotency import Answer, Claim, Idempotency
from serve_app.platform.keys import Keys
from serve_app.storage.database import Database
from tests.support.storage import Clock

LEASE_S = 60.0
DAY_S = 24 * 3600.0
SECRET = f"rag_00000000_{'s' * 43}"
ANSWER = Answer(201, {"content-type": "application/json", "location": "/v1/keys/k"}, b'{"secret": "rag_\xc5\xbe"}')


@pytest.fixture
def idempotency(database: Database, clock: Clock) -> Idempotency:
    return Idempotency(database, lease_s=LEASE_S, keep_s=DAY_S, clock=clock)


async def begin(
    idempotency: Idempotency, key: str = "k", request: str = "r", *, tenant: str = "a", secret: str = SECRET
) -> Claim | Answer:
    return await idempotency.begin(tenant, key, request, secret)


async def claim(idempotency: Idempotency, key: str = "k", request: str = "r", *, tenant: str = "a") -> Claim:
    begun = await begin(idempotency, key, request, tenant=tenant)
    assert isinstance(begun, Claim)
    return begun


async def rows(database: Database) -> list[str]:
    async with database.session() as session:
        return [str(row) for row in await session.execute(text("SELECT * FROM idempotent_requests"))]


@pytest.mark.every_database
async def test_the_same_request_gets_the_same_answer(idempotency: Idempotency) -> None:
    await idempotency.keep(await claim(idempotency), ANSWER)
    for _ in range(2):
        assert await begin(idempotency) == ANSWER


async def test_another_request_with_the_key_is_refused(idempotency: Idempotency) -> None:
    first = await claim(idempotency)
    with pytest.raises(IdempotencyMismatch, match="another request; choose a new one"):
        await begin(idempotency, request="other")
    await idempotency.keep(first, ANSWER)
    with pytest.raises(IdempotencyMismatch):
        await begin(idempotency, request="other")


async def ask(idempotency: Idempotency, key: str, size: int = 1_000, *, tenant: str = "a") -> None:
    begun = await idempotency.begin(tenant, key, "r", SECRET, is_question=True)
    assert isinstance(begun, Claim)
    await idempotency.keep(begun, Answer(200, {}, b"x" * size))


async def has(idempotency: Idempotency, key: str, *, tenant: str = "a") -> bool:
    found = await begin(idempotency, key, tenant=tenant)
    if isinstance(found, Claim):
        await idempotency.release(found)
    return isinstance(found, Answer)


@pytest.mark.every_database
async def test_a_tenant_s_oldest_answers_to_questions_make_room_for_new_ones(database: Database, clock: Clock) -> None:
    """What created something stays, and so do other tenants' answers."""
    idempotency = Idempotency(database, lease_s=LEASE_S, keep_s=DAY_S, max_tenant_bytes=5_000, clock=clock)
    await idempotency.keep(await claim(idempotency, "created"), ANSWER)
    await ask(idempotency, "theirs", tenant="b")
    for number in range(6):
        clock.advance(1)
        await ask(idempotency, str(number))  # sealed, each takes about 1,400 bytes
    assert [await has(idempotency, str(number)) for number in range(6)] == [False, False, False, True, True, True]
    assert await has(idempotency, "created")
    assert await has(idempotency, "theirs", tenant="b")


async def test_one_answer_larger_than_all_may_be_drops_them_all(database: Database, clock: Clock) -> None:
    idempotency = Idempotency(database, lease_s=LEASE_S, keep_s=DAY_S, max_tenant_bytes=5_000, clock=clock)
    for number in range(3):
        clock.advance(1)
        await ask(idempotency, str(number), 9_000 if number == 2 else 100)
    assert not any([await has(idempotency, str(number)) for number in range(3)])


async def test_an_answer_over_its_bound_is_not_kept(database: Database, clock: Clock) -> None:
    idempotency = Idempotency(database, lease_s=LEASE_S, keep_s=DAY_S, max_answer_bytes=1_000, clock=clock)
    await ask(idempotency, "at the bound", 1_000)
    await ask(idempotency, "beyond", 1_001)
    assert [await has(idempotency, key) for key in ("at the bound", "beyond")] == [True, False]


async def test_each_user_has_keys_of_their_own(idempotency: Idempotency) -> None:
    for user in ("", "ana", "iva"):
        begun = await idempotency.begin("a", "k", f"of {user}", SECRET, user=user)
        assert isinstance(begun, Claim)


async def test_a_large_answer_is_sealed_and_opened_beside_the_event_loop(
    idempotency: Idempotency, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    plain = Fernet.encrypt, Fernet.decrypt

    def watched(method: Any) -> Any:
        def call(*given: Any) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return method(*given)

        return call

    monkeypatch.setattr(Fernet, "encrypt", watched(plain[0]))
    monkeypatch.setattr(Fernet, "decrypt", watched(plain[1]))
    await ask(idempotency, "k", 1_000_000)
    assert await has(idempotency, "k")
    assert threads == [False, False]


async def test_another_key_is_another_request(idempotency: Idempotency) -> None:
    await claim(idempotency, "k")
    await claim(idempotency, "K")


@pytest.mark.every_database
async def test_of_many_at_once_one_works(idempotency: Idempotency) -> None:
    begun = await asyncio.gather(
        *(
            begin(Idempotency(idempotency.database, lease_s=LEASE_S, keep_s=DAY_S, clock=idempotency.clock))
            for _ in range(5)
        ),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in begun) == ["Claim", *4 * ["RequestInProgress"]]


@pytest.mark.every_database
async def test_the_others_wait_while_one_works(idempotency: Idempotency, clock: Clock) -> None:
    await claim(idempotency)
    clock.advance(LEASE_S - 1)
    with pytest.raises(RequestInProgress, match="still being worked on"):
        await begin(idempotency)


@pytest.mark.every_database
async def test_a_request_that_came_to_nothing_may_be_tried_again(idempotency: Idempotency) -> None:
    await idempotency.release(await claim(idempotency))
    await claim(idempotency, request="mended")


@pytest.mark.every_database
async def test_a_request_whose_worker_died_is_taken_over(idempotency: Idempotency, clock: Clock) -> None:
    """And the one thought dead changes nothing any more."""
    dead = await claim(idempotency)
    clock.advance(LEASE_S)
    second = await claim(idempotency)
    await idempotency.release(dead)
    await idempotency.keep(dead, replace(ANSWER, body=b"of the dead one"))
    with pytest.raises(RequestInProgress):
        await begin(idempotency)
    await idempotency.keep(second, ANSWER)
    await idempotency.release(second)
    assert await begin(idempotency) == ANSWER


async def test_an_answer_is_kept_for_a_day(idempotency: Idempotency, clock: Clock) -> None:
    await idempotency.keep(await claim(idempotency), ANSWER)
    clock.advance(DAY_S - 1)
    assert await begin(idempotency) == ANSWER
    clock.advance(1)
    await claim(idempotency, request="other")


async def test_an_answer_is_kept_as_long_as_the_config_says(database: Database, clock: Clock) -> None:
    idempotency = Idempotency(database, lease_s=LEASE_S, keep_s=100, clock=clock)
    await idempotency.keep(await claim(idempotency), ANSWER)
    clock.advance(99)
    assert await begin(idempotency) == ANSWER
    clock.advance(1)
    await claim(idempotency)


async def test_the_day_of_a_request_taken_over_begins_anew(idempotency: Idempotency, clock: Clock) -> None:
    await claim(idempotency)
    clock.advance(DAY_S / 2)
    await idempotency.keep(await claim(idempotency), ANSWER)
    clock.advance(DAY_S - 1)
    assert await begin(idempotency) == ANSWER


async def test_answers_and_secrets_are_stored_sealed(idempotency: Idempotency, database: Database) -> None:
    made, _ = await Keys(database).create_key("a", "new")
    await idempotency.keep(await claim(idempotency, "the-callers-key"), Answer(201, {}, made.encode()))
    [row] = await rows(database)
    for secret in (made, made.split("_", 2)[2], SECRET, "the-callers-key"):
        assert secret not in row
    kept = await begin(idempotency, "the-callers-key")
    assert isinstance(kept, Answer)
    assert kept.body == made.encode()


async def test_another_tenants_same_key_is_its_own(idempotency: Idempotency) -> None:
    """Though both began in the same moment."""
    first = await claim(idempotency, tenant="a")
    second = await claim(idempotency, request="other", tenant="b")
    await idempotency.release(second)
    with pytest.raises(RequestInProgress):
        await begin(idempotency, tenant="a")
    second = await claim(idempotency, request="other", tenant="b")
    await idempotency.keep(first, ANSWER)
    with pytest.raises(RequestInProgress):
        await begin(idempotency, request="other", tenant="b")
    await idempotency.keep(second, replace(ANSWER, status=202))
    assert await begin(idempotency, tenant="a") == ANSWER


async def test_an_answer_is_for_every_key_of_the_tenant(idempotency: Idempotency) -> None:
    """Such as the successor of one that was rotated."""
    await idempotency.keep(await claim(idempotency), ANSWER)
    assert await begin(idempotency, secret=SECRET.swapcase()) == ANSWER


@pytest.mark.parametrize("shown", [SECRET, "whsec_" + "A" * 32])
async def test_an_answer_that_shows_a_secret_opens_only_for_the_key_that_asked(
    idempotency: Idempotency, shown: str
) -> None:
    answer = Answer(201, {}, f'{{"secret":"{shown}"}}'.encode())
    await idempotency.keep(await claim(idempotency), answer)
    with pytest.raises(IdempotencyMismatch, match="shows a secret"):
        await begin(idempotency, secret=SECRET.swapcase())
    assert await begin(idempotency) == answer


async def test_a_tenant_that_is_not_there_begins_nothing(idempotency: Idempotency) -> None:
    with pytest.raises(NotFound, match="'nobody' does not exist"):
        await begin(idempotency, tenant="nobody")
