"""Non-interference, as a state machine: the same operations with and without other tenants give the same answers.

Each operation runs in a world with all tenants and in one with its own tenant alone. A question of one user also runs
in a world where the other user's private documents never were. Compared is what a caller sees, except for values that
are drawn or timed (ids of jobs, keys and queries, secrets, times).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from serve_app.platform.retention_config import DAY_S
from tests.support.world import World
from tests.support.worlds import MOMENT_S, TENANTS, Seen, Worlds

USERS = ("u1", "u2")
WATCHED = "b"
"""The tenant one of whose users is also watched without the other's documents."""
COLLECTIONS = ("default", "zakoni", "upute")
LIMITED = {"quotas": {"documents": 12, "chunks": 14}}
"""Of each tenant: few enough to be met, and a tenant that counted others' would meet them sooner."""
LOOKS = (
    "/v1/collections",
    "/v1/collections/zakoni",
    "/v1/keys",
    "/v1/audit",
    "/v1/queries",
    "/v1/usage?format=csv&by=user",
    "/v1/reindex",
    "/v1/jobs",
    "/v1/documents",
    "/v1/documents?filter=metadata.number+>=+2&user=u2",
    "/v1/documents/d-1",
    "/v1/documents/d-1/chunks",
    "/v1/documents/d-1/content",
)
"""What a tenant looks at of its own."""
KEPT = ("jobs_days", "audit_days", "queries_days", "usage_days", "keys_days")
"""What a tenant says how long it keeps."""
WORDS = ("žalba", "rok", "dana", "rješenje", "ugovor", "najam", "porez", "prijava", "appeal", "contract", "deadline")
_JOB = re.compile(r"\bjob_[0-9a-f]{32}\b")


def canary(tenant: str, owner: str) -> str:
    """A word that only the documents of one owner hold."""
    return f"tajna{tenant}{owner or 'svima'}"


class Tenancies(RuleBasedStateMachine):
    worlds: Worlds
    limits: Mapping[str, Any] = LIMITED

    @initialize()
    def begin(self) -> None:
        self.worlds.runs += 1
        self.run = self.worlds.runs
        for each in self.worlds.named.values():
            each.held = False
        self.jobs: dict[tuple[str, str], str] = {}
        self.queries: dict[tuple[str, str], str] = {}
        self._do(self._begin())

    async def _begin(self) -> None:
        for tenant in TENANTS:
            for each in self._worlds_of(tenant):
                await each.add_tenant(self._id(tenant), settings=self.limits)

    def _id(self, tenant: str) -> str:
        return f"{tenant}-{self.run}"

    def _worlds_of(self, tenant: str) -> list[World]:
        names = ["all", tenant, *(["without u1"] if tenant == WATCHED else [])]
        return [self.worlds.named[name] for name in names]

    def _do(self, work: Any) -> Any:
        return self.worlds.run(work)

    async def _compared(
        self, tenant: str, method: str, path: str, *, user: str = "", private: bool = False, **request: Any
    ) -> Seen:
        """One call in the world of all and in its tenant's own: the same answer, without words of others.

        `private` marks what changes the first user's documents. `user` is the asking user, if there is one. The
        second user must be shown the same where the first user has nothing.
        """
        self.worlds.operations += 1
        names = self._named(tenant, private)
        async with asyncio.TaskGroup() as asking:
            tasks = {name: asking.create_task(self._answered(name, tenant, method, path, **request)) for name in names}
        answers = {name: task.result() for name, task in tasks.items()}
        seen = {name: Seen.of(answer) for name, answer in answers.items()}
        assert seen["all"].status < 500, answers["all"].text
        assert seen["all"] == seen[tenant], f"{tenant} feels the others: {method} {path} {request}"
        if tenant == WATCHED and user == "u2":
            assert seen["all"] == seen["without u1"], f"u2 feels u1: {method} {path} {request}"
        if method != "POST" or user or "query" in path or "search" in path:
            self._check_canaries(tenant, user, json.dumps(request.get("json", "")), answers["all"].text)
        return seen["all"]

    async def _answered(self, name: str, tenant: str, method: str, path: str, **request: Any) -> httpx.Response:
        """One world's answer, once the job that it may have begun is done."""
        each = self.worlds.named[name]
        answer = await each.call(self._id(tenant), method, path, **request)
        if query_id := answer.headers.get("X-Query-ID"):
            self.queries[name, tenant] = query_id
        if answer.status_code == 202 and "job_id" in answer.json():
            self.jobs[name, tenant] = answer.json()["job_id"]
            if not each.held:
                await each.settled(self._id(tenant), self.jobs[name, tenant])
        return answer

    def _named(self, tenant: str, private: bool) -> dict[str, World]:
        names = ["all", tenant]
        if tenant == WATCHED and not private:
            names.append("without u1")
        return {name: self.worlds.named[name] for name in names}

    def _check_canaries(self, tenant: str, user: str, asked: str, text: str) -> None:
        for other in TENANTS:
            for owner in ("", *USERS):
                if other == tenant and (not user or owner in ("", user)):
                    continue
                word = canary(self._id(other), owner)
                assert word in asked or word not in text, f"{tenant}/{user} reads {other}/{owner}"

    # --- Documents

    @rule(
        tenant=st.sampled_from(TENANTS),
        owner=st.sampled_from(("", "", *USERS)),
        number=st.integers(1, 4),
        words=st.lists(st.sampled_from(WORDS), min_size=3, max_size=12),
        collection=st.sampled_from(COLLECTIONS),
        language=st.sampled_from(("hr", "en")),
    )
    def put(self, tenant: str, owner: str, number: int, words: list[str], collection: str, language: str) -> None:
        text = f"{' '.join(words)}. {canary(self._id(tenant), owner)} {words[0]}."
        document = {
            "id": self._document(owner, number),
            "title": words[0],
            "text": text,
            "collection": collection,
            "language": language,
            "user": owner or None,
            "metadata": {"number": number},
        }
        private = owner == "u1"
        self._do(self._compared(tenant, "POST", "/v1/documents", json=document, private=private))

    @rule(
        tenant=st.sampled_from(TENANTS),
        number=st.integers(1, 2),
        owned=st.booleans(),
        key=st.sampled_from((None, "same key")),
    )
    def put_what_all_have(self, tenant: str, number: int, owned: bool, key: str | None) -> None:
        """Every tenant's document of this name has these very words; whose it is in a tenant differs."""
        document = {"id": f"isti-{number}", "text": f"Rok za žalbu je {number} dana.", "language": "hr"}
        if owned and tenant != WATCHED:
            document["user"] = "u1"
        headers = {"Idempotency-Key": f"{key} {number}"} if key else {}
        self._do(self._compared(tenant, "POST", "/v1/documents", json=document, headers=headers))

    @rule(tenant=st.sampled_from(TENANTS), number=st.integers(1, 2))
    def put_wrongly(self, tenant: str, number: int) -> None:
        """A request that fails, under a key that others use too: it is to be forgotten, theirs are not."""
        document = {"id": f"isti-{number}", "text": "Rok.", "collection": "a/b"}
        headers = {"Idempotency-Key": f"same key {number}"}
        self._do(self._compared(tenant, "POST", "/v1/documents", json=document, headers=headers))

    @rule(tenant=st.sampled_from(TENANTS))
    def look_at_the_last_job(self, tenant: str) -> None:
        self._do(self._look_at_the_last_job(tenant))

    async def _look_at_the_last_job(self, tenant: str) -> None:
        seen = {}
        for name in ("all", tenant):
            job = self.jobs.get((name, tenant), f"job_{'0' * 32}")
            seen[name] = Seen.of(await self.worlds.named[name].call(self._id(tenant), "GET", f"/v1/jobs/{job}"))
        assert seen["all"] == seen[tenant]

    @rule(tenant=st.sampled_from(TENANTS))
    def follow_the_last_job(self, tenant: str) -> None:
        """From before documents that wait are worked on. How often a job changes is no part of what is compared."""
        self._do(self._follow_the_last_job(tenant))

    async def _follow_the_last_job(self, tenant: str) -> None:
        self.worlds.operations += 1
        names, ends = ("all", tenant), {}
        jobs = {name: self.jobs.get((name, tenant), f"job_{'0' * 32}") for name in names}
        async with asyncio.TaskGroup() as following:
            tasks = {
                name: following.create_task(
                    self.worlds.named[name].call(self._id(tenant), "GET", f"/v1/jobs/{jobs[name]}/events")
                )
                for name in names
            }
            await asyncio.sleep(MOMENT_S)
            await self._resume()
        for name, task in tasks.items():
            told, seen = task.result().text, Seen.of(task.result())
            ends[name] = seen if seen.status != 200 else seen.body[-1]
            assert set(_JOB.findall(told)) <= {jobs[name]}, f"{tenant} is told of another job"
        assert ends["all"] == ends[tenant]

    @rule(tenant=st.sampled_from([tenant for tenant in TENANTS if tenant != WATCHED]))
    def retry_the_last_job(self, tenant: str) -> None:
        """Not the watched tenant's: without its first user's documents, its last job may be another one."""
        self._do(self._retry_the_last_job(tenant))

    async def _retry_the_last_job(self, tenant: str) -> None:
        self.worlds.operations += 1
        seen = {}
        for name in ("all", tenant):
            job = self.jobs.get((name, tenant), f"job_{'0' * 32}")
            seen[name] = Seen.of(await self._answered(name, tenant, "POST", f"/v1/jobs/{job}/retry"))
        assert seen["all"] == seen[tenant]

    @rule()
    def hold(self) -> None:
        """Documents wait from here on."""
        for each in self.worlds.named.values():
            each.held = True

    @rule()
    def resume(self) -> None:
        self._do(self._resume())

    async def _resume(self) -> None:
        for each in self.worlds.named.values():
            each.resume()
        for name, tenant in self.jobs:
            await self.worlds.named[name].settled(self._id(tenant), self.jobs[name, tenant])

    def teardown(self) -> None:
        self.resume()

    def _document(self, owner: str, number: int) -> str:
        return f"{owner or 'd'}-{number}"

    @rule(tenant=st.sampled_from(TENANTS), owner=st.sampled_from(("", *USERS)), number=st.integers(1, 4))
    def delete(self, tenant: str, owner: str, number: int) -> None:
        path = f"/v1/documents/{self._document(owner, number)}"
        self._do(self._compared(tenant, "DELETE", path, private=owner == "u1"))

    @rule(
        tenant=st.sampled_from(TENANTS),
        owner=st.sampled_from(("", *USERS)),
        number=st.integers(1, 4),
        value=st.integers(1, 4),
    )
    def change_metadata(self, tenant: str, owner: str, number: int, value: int) -> None:
        path = f"/v1/documents/{self._document(owner, number)}"
        body = {"metadata": {"number": value}}
        self._do(self._compared(tenant, "PATCH", path, json=body, private=owner == "u1"))

    @rule(tenant=st.sampled_from(TENANTS), user=st.sampled_from(("", "u2")), number=st.integers(1, 4))
    def delete_chosen(self, tenant: str, user: str, number: int) -> None:
        body = {"user": user, "filter": f"metadata.number == {number}"}
        self._do(self._compared(tenant, "POST", "/v1/documents/delete", json=body))

    @rule(tenant=st.sampled_from(TENANTS))
    def reindex(self, tenant: str) -> None:
        """From its stored bytes. A request while one runs names it, and is refused."""
        self._do(self._compared(tenant, "POST", "/v1/reindex", json={}))

    def lose_bytes(self, tenant: str, owner: str, number: int) -> None:
        """A document's bytes are gone from the disk."""
        self._do(self._lose_bytes(tenant, owner, number))

    async def _lose_bytes(self, tenant: str, owner: str, number: int) -> None:
        for each in self._worlds_of(tenant):
            await each.lose_bytes(self._id(tenant), self._document(owner, number))

    # --- Questions

    @rule(
        tenant=st.sampled_from(TENANTS),
        user=st.sampled_from(USERS),
        words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
        whose=st.sampled_from((None, *TENANTS)),
        collections=st.lists(st.sampled_from(COLLECTIONS[:1]), max_size=1),
        route=st.sampled_from(("search", "query", "stream", "command", "rpc", "chat", "streamed chat")),
        condition=st.sampled_from((None, "metadata.number >= 2", "not (collection == 'zakoni')")),
    )
    def ask(
        self, tenant: str, user: str, words: list[str], whose: str | None, collections: list[str], route: str,
        condition: str | None,
    ) -> None:  # fmt: skip
        hunted = [canary(self._id(whose), owner) for owner in ("", *USERS)] if whose else []
        body: dict[str, Any] = {"query": " ".join([*words, *hunted]), "user": user, "collections": collections}
        if condition:
            body["filter"] = condition
        match route:
            case "search":
                path, sent = "/v1/search", body
            case "query" | "stream":
                path, sent = "/v1/query", {**body, "stream": route == "stream"}
            case "command":
                path, sent = "/v1/commands", {"id": "1", "command": "query", "params": body}
            case "chat" | "streamed chat":
                turns = [{"role": role, "content": " ".join(words)} for role in ("user", "assistant")]
                messages = [*turns, {"role": "user", "content": body.pop("query")}]
                path = "/v1/chat/completions"
                sent = {"model": "rag", "messages": messages, "stream": route != "chat", **body}
            case _:
                path, sent = "/v1/rpc", {"jsonrpc": "2.0", "id": 1, "method": "search", "params": body}
        self._do(self._compared(tenant, "POST", path, json=sent, user=user))

    @rule(tenant=st.sampled_from(TENANTS), name=st.sampled_from((*COLLECTIONS, "nema")))
    def ask_in_a_collection(self, tenant: str, name: str) -> None:
        """Which may not be there: the refusal names those that are."""
        body = {"query": "rok", "collections": [name]}
        self._do(self._compared(tenant, "POST", "/v1/search", json=body))

    # --- Collections, keys, jobs and what else a tenant looks at

    @rule(
        tenant=st.sampled_from(TENANTS),
        name=st.sampled_from(COLLECTIONS),
        action=st.sampled_from(("POST", "PATCH", "DELETE")),
    )
    def change_collection(self, tenant: str, name: str, action: str) -> None:
        if action == "POST":
            self._do(self._compared(tenant, "POST", "/v1/collections", json={"name": name}))
        elif action == "PATCH":
            body = {"description": f"opis {name}", "chunk_tokens": 32}
            self._do(self._uncounted(tenant, "PATCH", f"/v1/collections/{name}", json=body))
        else:
            self._do(self._uncounted(tenant, "DELETE", f"/v1/collections/{name}"))

    @rule(
        tenant=st.sampled_from(TENANTS),
        path=st.sampled_from(LOOKS),
    )
    def look(self, tenant: str, path: str) -> None:
        self._do(self._looked(tenant, path))

    async def _looked(self, tenant: str, path: str) -> None:
        for each in self._worlds_of(tenant):
            await each.told()
        await self._uncounted(tenant, "GET", path)

    async def _uncounted(self, tenant: str, method: str, path: str, **request: Any) -> None:
        """A tenant's own view: it counts everyone's documents, so it is not compared without the first user's."""
        await self._compared(tenant, method, path, **request)

    @rule(tenant=st.sampled_from(TENANTS), kinds=st.sets(st.sampled_from(KEPT)))
    def keep_for_a_moment(self, tenant: str, kinds: set[str]) -> None:
        """From here on, of these kinds. The other tenants keep theirs as long as the service does."""
        self._do(self._keep(tenant, dict.fromkeys(kinds, MOMENT_S / DAY_S)))

    async def _keep(self, tenant: str, retention: Mapping[str, float]) -> None:
        self.worlds.operations += 1
        for each in self._worlds_of(tenant):
            body = {"settings": {**self.limits, "retention": retention}}
            (await each.manage("PATCH", f"/v1/tenants/{self._id(tenant)}", json=body)).raise_for_status()

    @rule()
    def sweep(self) -> None:
        """Remove in all worlds what has been kept long enough."""
        self._do(self._sweep())

    async def _sweep(self) -> None:
        self.worlds.operations += 1
        for each in self.worlds.named.values():
            await each.told()
        await asyncio.sleep(2 * MOMENT_S)
        for each in self.worlds.named.values():
            await each.sweep()

    @rule(tenant=st.sampled_from(TENANTS))
    def rotate(self, tenant: str) -> None:
        self._do(self._rotate(tenant))

    async def _rotate(self, tenant: str) -> None:
        self.worlds.operations += 1
        for each in self._worlds_of(tenant):
            listed = (await each.call(self._id(tenant), "GET", "/v1/keys")).json()["keys"]
            current = next(k for k in reversed(listed) if each.keys[self._id(tenant)].startswith(k["begins_with"]))
            old = each.keys[self._id(tenant)]
            path = f"/v1/keys/{current['id']}/rotate"
            made = await each.call(self._id(tenant), "POST", path, json={"overlap_s": 0})
            each.keys[self._id(tenant)] = made.raise_for_status().json()["secret"]
            assert (await each.call(self._id(tenant), "GET", "/v1/keys", key=old)).status_code == 401

    @rule(tenant=st.sampled_from(TENANTS), other=st.sampled_from(TENANTS))
    def trespass(self, tenant: str, other: str) -> None:
        """Another tenant's job, key and query, by their very ids, and its name in the header."""
        if other != tenant:
            self._do(self._trespass(tenant, other))

    async def _trespass(self, tenant: str, other: str) -> None:
        self.worlds.operations += 1
        everyone, alone = self.worlds.named["all"], self.worlds.named[tenant]
        mine = {name: self._id(tenant) for name in ("all", "alone")}
        keys = (await everyone.call(self._id(other), "GET", "/v1/keys")).json()["keys"]
        job = self.jobs.get(("all", other), f"job_{'0' * 32}")
        query = self.queries.get(("all", other), "0" * 32)
        await everyone.told()
        for method, there, nowhere in (
            ("GET", f"/v1/jobs/{job}", f"/v1/jobs/job_{'0' * 32}"),
            ("GET", f"/v1/jobs/{job}/events", f"/v1/jobs/job_{'0' * 32}/events"),
            ("POST", f"/v1/jobs/{job}/cancel", f"/v1/jobs/job_{'0' * 32}/cancel"),
            ("GET", f"/v1/queries/{query}", f"/v1/queries/{'0' * 32}"),
            ("GET", f"/v1/queries/{query}/trace", f"/v1/queries/{'0' * 32}/trace"),
            ("GET", f"/v1/queries/{query}/trace", f"/v1/queries/{'0' * 32}/trace"),
            ("POST", f"/v1/jobs/{job}/retry", f"/v1/jobs/job_{'0' * 32}/retry"),
            ("DELETE", f"/v1/keys/{keys[-1]['id']}", f"/v1/keys/key_{'0' * 32}"),
            ("POST", f"/v1/keys/{keys[-1]['id']}/rotate", f"/v1/keys/key_{'0' * 32}/rotate"),
        ):
            got = Seen.of(await everyone.call(mine["all"], method, there))
            assert got == Seen.of(await alone.call(mine["alone"], method, nowhere))
            assert got.status == 404
        pages = [f"/v1/jobs?after={after}" for after in (job, f"job_{'0' * 32}")]
        assert len({str(Seen.of(await everyone.call(mine["all"], "GET", path))) for path in pages}) == 1
        for path in ("/v1/collections", "/v1/keys"):
            refused = await everyone.call(mine["all"], "GET", path, headers={"X-Tenant-ID": self._id(other)})
            assert refused.status_code == 403
        still = await everyone.call(self._id(other), "GET", "/v1/keys")
        assert still.status_code == 200, "a trespasser ended another tenant's key"

    @rule(tenant=st.sampled_from(TENANTS))
    def delete_tenant(self, tenant: str) -> None:
        """And make it anew: nothing of it is left, and other tenants do not notice."""
        self._do(self._delete_tenant(tenant))

    @rule(tenant=st.sampled_from(TENANTS), other=st.sampled_from(TENANTS))
    def delete_tenant_beside_another_s_work(self, tenant: str, other: str) -> None:
        """A worker that has another tenant's documents is not waited for."""
        if tenant != other:
            self._do(self._delete_beside(tenant, other))

    async def _delete_beside(self, tenant: str, other: str) -> None:
        taken = [(each, await each.take(self._id(other))) for each in self._worlds_of(other)]
        await self._delete_tenant(tenant)
        for each, tasks in taken:
            await each.give_back(tasks)

    async def _delete_tenant(self, tenant: str) -> None:
        self.worlds.operations += 1
        removed = {}
        for name, each in self._named(tenant, private=False).items():
            answer = await each.manage("DELETE", f"/v1/tenants/{self._id(tenant)}")
            removed[name] = Seen.of(answer)
            assert answer.status_code == 200, answer.text
            old = each.keys[self._id(tenant)]
            assert (await each.call(self._id(tenant), "GET", "/v1/keys")).status_code == 401
            await each.add_tenant(self._id(tenant), settings=self.limits)
            assert (await each.call(self._id(tenant), "GET", "/v1/keys", key=old)).status_code == 401
            self.jobs.pop((name, tenant), None)
        assert removed["all"] == removed[tenant]
