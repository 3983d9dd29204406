from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
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
