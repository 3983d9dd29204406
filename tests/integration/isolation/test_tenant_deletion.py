"""A tenant is deleted in the middle of its work: nothing of it is left, and nobody else notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serve_app.storage.tables import AuditEntry, Base, TenantOwned
from tests.support.world import World, world

QUESTION = {"query": "Koji je rok za žalbu?", "stream": False}
DOCUMENTS = 30


def text(tenant: str, number: int) -> str:
    return f"Rok za žalbu broj {number} je {number} dana. tajna{tenant}{number}"


async def upload_all(service: World, tenant: str, statuses: list[int]) -> None:
    for number in range(DOCUMENTS):
        body = {"id": f"d{number}", "text": text(tenant, number), "collection": f"c{number % 3}"}
        statuses.append((await service.call(tenant, "POST", "/v1/documents", json=body)).status_code)


async def ask_all(service: World, tenant: str, statuses: list[int]) -> None:
    for _ in range(DOCUMENTS):
        answer = await service.call(tenant, "POST", "/v1/query", json=QUESTION)
        statuses.append(answer.status_code)


async def rows_of(service: World, tenant: str) -> dict[str, int]:
    """By table, those that carry the tenant."""
    found: dict[str, int] = {}
    async with service.services.tenants.database.session() as session:
        for model in TenantOwned.__subclasses__():
            count = await session.scalar(select(func.count()).select_from(model).where(model.tenant_id == tenant))
            if count:
                found[model.__tablename__] = count
    return found


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.8])
async def test_nothing_is_left_and_nobody_else_notices(tmp_path: Path, after_s: float) -> None:
    async with world(tmp_path) as service:
        for tenant in ("gone", "stays"):
            await service.add_tenant(tenant)
            await service.put(tenant, id="first", text=text(tenant, 99))
        said: dict[str, list[int]] = {"gone": [], "stays": []}
        work = [
            asyncio.create_task(each(service, tenant, said[tenant]))
            for tenant in said
            for each in (upload_all, ask_all)
        ]
        await asyncio.sleep(after_s)
        deleted = await service.manage("DELETE", "/v1/tenants/gone")
        for _ in range(100):  # it says 503 while a document is in the worker's hands for longer than is waited
            if deleted.status_code == 503:
                deleted = await service.manage("DELETE", "/v1/tenants/gone")
        assert deleted.status_code == 200, deleted.text
        assert deleted.json()["removed"]["documents"] >= 1
        await asyncio.gather(*work)

        assert set(said["stays"]) <= {200, 202}, "another tenant's work was disturbed"
        assert {status for status in said["gone"] if status >= 500} == set()
        assert said["gone"][-1] in (401, 404), "its key still works"
        await service.services.events.drain()
        assert await rows_of(service, "gone") == {}
        assert not (tmp_path / "blobs" / "gone").exists()
        assert await service.stages.purge("gone") == 0, "passages were left in the index"

        stays = (await service.call("stays", "GET", "/v1/collections")).json()["collections"]
        while sum(each["documents"] for each in stays) < DOCUMENTS + 1:
            await asyncio.sleep(0.02)
            stays = (await service.call("stays", "GET", "/v1/collections")).json()["collections"]
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
        await service.services.events.drain()
        async with service.services.tenants.database.session() as session:
            entry = await session.scalar(select(AuditEntry).where(AuditEntry.action == "tenant.deleted"))
        assert entry is not None
        assert (entry.tenant_id, entry.subject, entry.role) == ("_platform", "gone", "platform")
        assert entry.details == answer["removed"]


async def test_every_table_of_a_tenant_s_is_known(tmp_path: Path) -> None:
    """A new table that is not a TenantOwned one would be forgotten by the deletion."""
    owned = {model.__tablename__ for model in TenantOwned.__subclasses__()}
    assert set(Base.metadata.tables) - owned == {"tenants"}
