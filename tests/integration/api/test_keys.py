from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import LIMITS, Api


async def made(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/keys/{key['id']}"
    return key


async def works(api: Api, secret: str) -> bool:
    answer = await api.client.get("/v1/collections", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


async def test_a_secret_is_shown_once(api: Api) -> None:
    key = await made(api, name="chat", role="query")
    assert (key["name"], key["role"], key["expires_at"], key["revoked_at"]) == ("chat", "query", None, None)
    assert key["secret"].startswith(key["begins_with"])
    assert await works(api, key["secret"])
    listed = await api.client.get("/v1/keys")
    assert [{**k, "secret": key["secret"]} for k in listed.json()["keys"]][-1] == key
    assert key["secret"] not in listed.text


async def test_a_key_s_role_is_query_unless_said_otherwise(api: Api) -> None:
    key = await made(api)
    refused = await api.client.post("/v1/keys", json={}, headers={"Authorization": f"Bearer {key['secret']}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"role": "platform"}, "role"),
        ({"role": "owner"}, "role"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expire": None}, "expire"),
    ],
)
async def test_a_bad_key_is_refused(api: Api, body: dict[str, Any], names: str) -> None:
    answer = await api.client.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert names in answer.json()["detail"]
    assert len(await api.stores.keys.list("t")) == 1


async def test_a_key_ends_when_it_expires(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    key = await made(api, expires_at=end.isoformat())
    assert datetime.fromisoformat(key["expires_at"]) == end
    assert await works(api, key["secret"])
    monkeypatch.setattr(api.stores.keys, "clock", lambda: end)
    assert not await works(api, key["secret"])


async def test_a_revoked_key_is_refused_and_stays_listed(api: Api) -> None:
    key = await made(api)
    assert (await api.client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert not await works(api, key["secret"])
    assert (await api.client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    [*_, listed] = (await api.client.get("/v1/keys")).json()["keys"]
    assert (listed["id"], listed["revoked_at"] is not None) == (key["id"], True)


async def test_rotation_makes_a_successor_and_leaves_time_to_change_over(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await made(api, name="chat", role="admin")
    answer = await api.client.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 600})
    new = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/keys/{new['id']}")
    assert (new["name"], new["role"]) == ("chat", "admin")
    assert new["id"] != old["id"]
    assert new["secret"] != old["secret"]
    assert await works(api, old["secret"])
    assert await works(api, new["secret"])
    now = datetime.now(UTC)
    monkeypatch.setattr(api.stores.keys, "clock", lambda: now + timedelta(seconds=601))
    assert not await works(api, old["secret"])
    assert await works(api, new["secret"])


async def test_rotation_without_a_body_has_an_hour_of_overlap_and_none_if_so_asked(api: Api) -> None:
    old = await made(api)
    assert (await api.client.post(f"/v1/keys/{old['id']}/rotate")).status_code == 201
    assert await works(api, old["secret"])
    at_once = await made(api)
    assert (await api.client.post(f"/v1/keys/{at_once['id']}/rotate", json={"overlap_s": 0})).status_code == 201
    assert not await works(api, at_once["secret"])


@pytest.mark.parametrize("overlap_s", [-1, LIMITS.max_key_overlap_s + 1, "long", 1e400])
async def test_the_overlap_has_its_bounds(api: Api, overlap_s: object) -> None:
    old = await made(api)
    content = f'{{"overlap_s": {overlap_s if overlap_s != 1e400 else "1e400"}}}'.replace("long", '"long"')
    answer = await api.client.post(
        f"/v1/keys/{old['id']}/rotate", content=content, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "overlap_s" in answer.json()["detail"]
    assert len(await api.stores.keys.list("t")) == 2


async def test_a_key_that_has_ended_cannot_be_rotated(api: Api) -> None:
    key = await made(api)
    await api.client.delete(f"/v1/keys/{key['id']}")
    answer = await api.client.post(f"/v1/keys/{key['id']}/rotate")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_keys_of_another_tenant_are_not_found(api: Api) -> None:
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    [own] = (await api.client.get("/v1/keys")).json()["keys"]
    for method, path in [("DELETE", f"/v1/keys/{own['id']}"), ("POST", f"/v1/keys/{own['id']}/rotate")]:
        answer = await api.client.request(method, path, headers=theirs)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert own["id"] not in (await api.client.get("/v1/keys", headers=theirs)).text
    assert (await api.client.get("/v1/keys")).json()["keys"] == [own]
