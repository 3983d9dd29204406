from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from deployments import lexical
from deployments.types import Scope
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.lexical_statistics import LexicalStatistics, difference, pack, unpack
from serve_app.platform.tenants import Tenants
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.tables import LexicalTerm, LexicalTotal
from tests.support.storage import document, indexed

Frequencies = dict[int, int]
frequencies = st.dictionaries(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
small = st.dictionaries(st.integers(1, 5), st.integers(1, 3))


async def index(jobs: Jobs, tenant: str, document_id: str, text: str, owner: str = "") -> None:
    """Index a document of one passage."""
    await jobs.accept(tenant, [document(document_id, text, owner=owner)])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(task, indexed(dict.fromkeys(lexical.encode_passage(text, "hr"), 1)))


async def weights(database: Database, text: str, tenant: str, user: str = "") -> bytes:
    found = await LexicalStatistics(database).query_weights(text, "hr", Scope(tenant, user))
    return json.dumps(dict(found)).encode()


@given(frequencies)
def test_packing_keeps_everything(terms: Frequencies) -> None:
    assert unpack(pack(terms)) == terms


@given(frequencies, frequencies)
def test_the_difference_leads_from_old_to_new(old: Frequencies, new: Frequencies) -> None:
    change = difference(new, old)
    assert all(change.values())
    total = Counter(old)
    total.update(change)
    assert {term: count for term, count in total.items() if count} == new


@pytest.mark.every_database
async def test_weights_are_of_what_the_asker_may_see(jobs: Jobs, database: Database) -> None:
    await index(jobs, "a", "1", "rok ured")
    await index(jobs, "a", "2", "rok sud")
    await index(jobs, "a", "3", "rok sud ured", owner="ana")
    ids = lexical.query_term_ids("rok u uredu sudu kamen", "hr")
    rok, office, court = (lexical.term_id(lexical.terms(word, "hr")[0]) for word in ("rok", "ured", "sud"))

    async def asked(user: str) -> dict[int, float]:
        scope = Scope("a", user)
        return dict(await LexicalStatistics(database).query_weights("rok u uredu sudu kamen", "hr", scope))

    shared = lexical.encode_query(ids, {rok: 2, office: 1, court: 1}, 2)
    assert len(shared) == 3
    assert await asked("") == shared
    assert await asked("ivo") == shared
    assert await asked("ana") == lexical.encode_query(ids, {rok: 3, office: 2, court: 2}, 3)


async def test_no_tenant_moves_anothers_weights(jobs: Jobs, database: Database) -> None:
    question = "rok za žalbu pred sudom"
    await index(jobs, "b", "1", "rok žalba")
    await index(jobs, "b", "2", "sud", owner="ana")
    before = await weights(database, question, "b"), await weights(database, question, "b", "ana")
    assert before[0] != before[1]
    for n in range(3):
        await index(jobs, "a", f"{n}", "rok žalba sud")
        await index(jobs, "a", f"private-{n}", "rok žalba sud", owner="ana")
    assert (await weights(database, question, "b"), await weights(database, question, "b", "ana")) == before


async def test_a_tenant_with_nothing_has_no_weights(database: Database) -> None:
    assert await weights(database, "rok za žalbu", "a") == b"{}"
    assert await weights(database, "", "a") == b"{}"


@pytest.mark.every_database
async def test_a_question_of_thousands_of_terms(jobs: Jobs, database: Database) -> None:
    words = [f"r{n}" for n in range(2_000)]
    await index(jobs, "a", "1", " ".join(words))
    found = await LexicalStatistics(database).query_weights(" ".join(words), "hr", Scope("a"))
    assert set(found) == set(lexical.encode_passage(" ".join(words), "hr"))


@pytest.mark.every_database
async def test_two_workers_finishing_the_same_terms_count_both(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document(f"d{n}") for n in range(8)])
    terms = dict.fromkeys(range(1, 400), 1)

    async def work(reverse: bool) -> None:
        mine = Jobs(Database(database.config))
        for task in await mine.queue.claim("w", lease_s=30, limit=4):
            await mine.queue.finish(task, indexed(dict(sorted(terms.items(), reverse=reverse))))
        await mine.database.close()

    await asyncio.gather(work(False), work(True))
    async with database.session() as session:
        assert set(await session.scalars(select(LexicalTerm.passages))) == {8}


@asynccontextmanager
async def temporary_database() -> AsyncIterator[Database]:
    with TemporaryDirectory() as folder:
        database = Database(StoreConfig(url=f"sqlite:///{Path(folder) / 'rag.db'}"))
        await database.migrate()
        await Tenants(database).ensure("a")
        yield database
        await database.close()


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), st.none() | st.tuples(st.integers(0, 9), small)), max_size=8)
)
def test_the_statistics_are_always_those_of_the_live_documents(
    steps: list[tuple[str, tuple[int, Frequencies] | None]],
) -> None:
    """Documents are added, replaced and (None) deleted in any order; `z` is private."""

    async def run() -> None:
        async with temporary_database() as database:
            jobs, model = Jobs(database), dict[str, tuple[int, Frequencies]]()
            for n, (document_id, content) in enumerate(steps):
                if content is None:
                    if model.pop(document_id, None) is not None:
                        await Documents(database).delete("a", document_id)
                else:
                    owner = "ana" if document_id == "z" else ""
                    await jobs.accept("a", [document(document_id, str(n), owner=owner)])
                    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
                    await jobs.queue.finish(task, indexed(content[1], passages=content[0]))
                    model[document_id] = content
                await check(database, model)

    async def check(database: Database, model: dict[str, tuple[int, Frequencies]]) -> None:
        terms, totals = Counter[tuple[str, int]](), Counter[str]()
        for document_id, (passages, held) in model.items():
            owner = "ana" if document_id == "z" else ""
            totals[owner] += passages
            terms.update({(owner, term): count for term, count in held.items()})
        async with database.session() as session:
            found_terms = {(row.owner, row.term_id): row.passages for row in await session.scalars(select(LexicalTerm))}
            found_totals = {row.owner: row.passages for row in await session.scalars(select(LexicalTotal))}
        assert found_terms == dict(terms)
        assert found_totals == {owner: passages for owner, passages in totals.items() if passages}

    asyncio.run(run())


@pytest.mark.parametrize("packed", [b"", pack({})])
def test_no_terms(packed: bytes) -> None:
    assert unpack(packed) == {}
