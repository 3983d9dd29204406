"""A tenant is deleted in the middle of its work: nothing of it is left, and other tenants do not notice."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serve_app.config.args import ApiConfig
from serve_app.storage.declarative import Base, TenantOwned
from serve_app.storage.log_tables import AuditEntry
from tests.support.world import World, world

QUESTION = {"query": "Koji je rok za žalbu?", "stream": False}
REFUSED = (401, 404)
"""The statuses that a tenant's own key is answered from the moment that its deletion begins."""


def text(tenant: str, number: int) -> str:
    return f"Rok za žalbu broj {number} je {number} dana. tajna{tenant}{number}"


def document(tenant: str, number: int) -> dict[str, str]:
    return {"id": f"d{number}", "text": text(tenant, number), "collection": f"c{number % 3}"}


async def upload_until_refused(service: World, tenant: str, accepted: asyncio.Semaphore) -> None:
    """`accepted` is released once for each upload that was accepted."""
    for number in count():
        answer = await service.call(tenant, "POST", "/v1/documents", json=document(tenant, number))
        if answer.status_code != 202:
            assert answer.status_code in REFUSED, answer.text
            return
        accepted.release()


async def ask_until_refused(service: World, tenant: str) -> None:
    while (answer := await service.call(tenant, "POST", "/v1/query", json=QUESTION)).status_code == 200:
        pass
    assert answer.status_code in REFUSED, answer.text


async def upload_until(over: asyncio.Event, service: World, tenant: str) -> list[int]:
    """The statuses of all uploads; the next one begins once the one before is indexed."""
    statuses: list[int] = []
    while not over.is_set():
        statuses.append((await service.put(tenant, **document(tenant, len(statuses)))).status_code)
    return statuses


async def ask_until(over: asyncio.Event, service: World, tenant: str) -> list[int]:
    """The statuses of all answers."""
    statuses: list[int] = []
    while not over.is_set():
        statuses.append((await service.call(tenant, "POST", "/v1/query", json=QUESTION)).status_code)
    return statuses


async def rows_of(service: World, tenant: str) -> dict[str, int]:
    """By table, those that carry the tenant."""
    found: dict[str, int] = {}
    async with service.stores.tenants.database.session() as session:
        for model in TenantOwned.__subclasses__():
            count = await session.scalar(select(func.count()).select_from(model).where(model.tenant_id == tenant))
            if count:
                found[model.__tablename__] = count
    return found


@pytest.mark.parametrize("after", [1, 5, 30])
async def test_nothing_is_left_and_nobody_else_notices(tmp_path: Path, after: int) -> None:
    """The deletion begins once `after` uploads were accepted. The tenant goes on until it is refused, the other tenant
    until the deletion is over."""
    async with world(tmp_path) as service:
        for tenant in ("gone", "stays"):
            await service.add_tenant(tenant)
            await service.put(tenant, id="first", text=text(tenant, 99))
        accepted, over = asyncio.Semaphore(0), asyncio.Event()
        async with asyncio.TaskGroup() as work:
            work.create_task(upload_until_refused(service, "gone", accepted))
            work.create_task(ask_until_refused(service, "gone"))
            uploads = work.create_task(upload_until(over, service, "stays"))
            answers = work.create_task(ask_until(over, service, "stays"))
            for _ in range(after):
                await accepted.acquire()
            while (deleted := await service.manage("DELETE", "/v1/tenants/gone")).status_code == 503:
                pass  # a worker holds a document for longer than the call waits
            over.set()
        assert deleted.status_code == 200, deleted.text
        assert deleted.json()["removed"]["documents"] > after
        assert set(uploads.result()) == {202}, "another tenant's work was disturbed"
        assert set(answers.result()) == {200}, "another tenant's work was disturbed"
        await service.stores.events.drain()
        assert await rows_of(service, "gone") == {}
        assert not (tmp_path / "blobs" / "gone").exists()
        assert await service.stages.purge("gone") == 0, "passages were left in the index"

        stays = (await service.call("stays", "GET", "/v1/collections")).json()["collections"]
        assert sum(collection["documents"] for collection in stays) == len(uploads.result()) + 1
        answer = (await service.call("stays", "POST", "/v1/query", json=QUESTION)).json()
        assert answer["sources"]
        assert "tajnagone" not in str(answer)

        await service.add_tenant("gone")
        empty = (await service.call("gone", "POST", "/v1/search", json={"query": "rok žalba"})).json()
        assert empty["results"] == []


async def test_the_platform_keeps_who_deleted_it_and_how_much_that_was(tmp_path: Path) -> None:
    async with world(tmp_path, index="fake") as service:
        await service.add_tenant("gone")
        await service.put("gone", id="d", text=text("gone", 1))
        answer = (await service.manage("DELETE", "/v1/tenants/gone")).json()
        assert answer["removed"] == {
            "passages": 1, "documents": 1, "blobs": 1, "bytes": len(text("gone", 1).encode()), "keys": 1, "jobs": 1,
            "collections": 1,
        }  # fmt: skip
        await service.stores.events.drain()
        async with service.stores.tenants.database.session() as session:
            entry = await session.scalar(select(AuditEntry).where(AuditEntry.action == "tenant.deleted"))
        assert entry is not None
        assert (entry.tenant_id, entry.subject, entry.role) == ("_platform", "gone", "platform")
        assert entry.details == answer["removed"]


async def test_a_key_of_a_deleted_tenant_is_not_valid_for_a_new_one_of_its_id(tmp_path: Path) -> None:
    """Though it was in the cache of keys."""
    async with world(tmp_path, index="fake", limits=ApiConfig(key_cache_s=5)) as service:
        await service.add_tenant("gone")
        old = service.keys["gone"]
        assert (await service.call("gone", "GET", "/v1/collections")).status_code == 200
        (await service.manage("DELETE", "/v1/tenants/gone")).raise_for_status()
        await service.add_tenant("gone")
        assert (await service.call("gone", "GET", "/v1/collections", key=old)).status_code == 401


async def test_every_table_of_a_tenant_s_is_known(tmp_path: Path) -> None:
    """A new table that is not a TenantOwned one would be forgotten by the deletion."""
    owned = {model.__tablename__ for model in TenantOwned.__subclasses__()}
    assert set(Base.metadata.tables) - owned == {"tenants", "sweeps"}
