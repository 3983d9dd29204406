"""What only the embedded index has: a folder with a lock, a file that outlives a kill, and segments in memory."""

from __future__ import annotations

import asyncio
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.errors import InvalidRequest, StageUnavailable
from deployments.filters import parse
from deployments.late_interaction import pack
from deployments.retrieval.base import Index
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.embedded import arrays, segment
from deployments.retrieval.embedded.folder import IndexFolder, set_former_aside
from deployments.retrieval.embedded.index import EmbeddedIndex
from deployments.retrieval.fake import FakeIndex
from deployments.types import (
    DocumentVersion,
    IndexEntry,
    IndexGeneration,
    LanguageShift,
    RetrievalRequest,
    VersionCopy,
    VersionRun,
    VisibleVersions,
)
from tests.support.waiting import until

Entry = Callable[..., IndexEntry]
Request = Callable[..., RetrievalRequest]
Opened = Callable[[RetrievalConfig], Any]

HOLDER = """
import sys
from deployments.retrieval.embedded.folder import IndexFolder
folder = IndexFolder(sys.argv[1])
assert folder.try_lock()
print("held", flush=True)
sys.stdin.read()
folder.release()
"""


class Holder:
    """Another process that holds a folder until it is told to release it, or is killed."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def config(folder: Path) -> RetrievalConfig:
    return RetrievalConfig(uri=str(folder), lock_timeout_s=0.3)


@pytest.fixture
def holder(folder: Path) -> Iterator[Holder]:
    holder = Holder(folder)
    yield holder
    holder.end()


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens indexes and closes them after the test."""
    made: list[Index] = []

    async def open(config: RetrievalConfig) -> EmbeddedIndex:
        index = EmbeddedIndex(config)
        made.append(index)
        await index.open()
        return index

    yield open
    for index in made:
        await asyncio.to_thread(index.close)


async def ids(index: Index, request: RetrievalRequest) -> list[str]:
    return sorted(candidate.passage.id for candidate in await index.search(request))


@pytest.mark.parametrize("end", [Holder.release, Holder.kill], ids=["released", "killed"])
async def test_opening_waits_for_the_holder_of_the_folder(
    config: RetrievalConfig, holder: Holder, opened: Opened, end: Callable[[Holder], None], lock_attempts: list[str]
) -> None:
    opening = asyncio.ensure_future(opened(config.model_copy(update={"lock_timeout_s": 60})))
    await until(lambda: len(lock_attempts) >= 3)
    assert not opening.done()
    end(holder)
    index = await opening
    await index.check()


async def test_a_folder_that_stays_locked_is_named(config: RetrievalConfig, holder: Holder, opened: Opened) -> None:
    with pytest.raises(StageUnavailable) as caught:
        await opened(config)
    assert config.uri in caught.value.internal
    assert "lock_timeout_s" in caught.value.message


async def test_an_attempt_after_a_failed_one_succeeds(config: RetrievalConfig, holder: Holder) -> None:
    index = EmbeddedIndex(config)
    with pytest.raises(StageUnavailable):
        await index.open()
    holder.release()
    holder.process.wait()
    await index.open()
    await index.check()
    index.close()


async def test_closing_releases_the_folder_and_keeps_its_passages(
    config: RetrievalConfig, opened: Opened, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    first = await opened(config)
    await first.upsert(generation, [entry("a")])
    with pytest.raises(StageUnavailable, match="locked"):
        await opened(config)
    first.close()
    second = await opened(config)
    assert await ids(second, request_for()) == ["a"]
    with pytest.raises(StageUnavailable, match="closed"):
        await first.search(request_for())


async def test_before_open_nothing_is_served(config: RetrievalConfig, request_for: Request) -> None:
    index = EmbeddedIndex(config)
    with pytest.raises(StageUnavailable, match="not open"):
        await index.search(request_for())
    index.close()


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    index = EmbeddedIndex(RetrievalConfig(uri=str(tmp_path / "file" / "index")))
    with pytest.raises(StageUnavailable, match="file"):
        await index.open()
    index.close()


def test_a_folder_is_locked_once(folder: Path) -> None:
    first, second = IndexFolder(str(folder)), IndexFolder(str(folder))
    assert first.try_lock()
    assert first.try_lock()
    assert not second.try_lock()
    first.release()
    first.release()
    assert second.try_lock()
    second.release()


@pytest.mark.parametrize("found", ["folder", "file"])
def test_what_milvus_lite_left_is_not_taken_for_an_empty_index(folder: Path, found: str) -> None:
    if found == "folder":
        folder.mkdir()
        (folder / "LOCK").touch()
        (folder / "collections").mkdir()
    else:
        folder.write_bytes(b"SQLite format 3")
    with pytest.raises(StageUnavailable, match="`rag reindex` indexes the documents again"):
        IndexFolder(str(folder)).try_lock()


def test_an_index_of_an_earlier_release_is_set_aside_once(folder: Path, tmp_path: Path) -> None:
    former, kept = tmp_path / "milvus.db", tmp_path / "milvus.db.former"
    assert set_former_aside(folder, former) is None
    former.mkdir()
    assert set_former_aside(folder, former) == kept
    assert (former.exists(), kept.is_dir()) == (False, True)
    former.mkdir()
    assert set_former_aside(folder, former) == kept
    assert former.exists(), "what is kept already is not replaced"


def test_an_index_of_an_earlier_release_beside_one_of_this_stays_where_it_is(folder: Path, tmp_path: Path) -> None:
    former = tmp_path / "milvus.db"
    former.mkdir()
    folder.mkdir()
    (folder / "passages.db").touch()
    assert set_former_aside(folder, former) is None
    assert former.exists()


async def test_a_file_of_another_layout_is_refused(folder: Path, config: RetrievalConfig, opened: Opened) -> None:
    (await opened(config)).close()
    with sqlite3.connect(folder / "passages.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    index = EmbeddedIndex(config)
    with pytest.raises(StageUnavailable, match="layout 99"):
        await index.open()
    index.close()


async def test_a_file_from_before_token_vectors_is_read_on(
    folder: Path,
    config: RetrievalConfig,
    opened: Opened,
    entry: Entry,
    request_for: Request,
    generation: IndexGeneration,
) -> None:
    index = await opened(config)
    await index.upsert(generation, [entry("old")])
    index.close()
    with sqlite3.connect(folder / "passages.db") as database:
        database.executescript("DROP TABLE token_vectors; PRAGMA user_version = 1;")
    database.close()
    index = await opened(config)
    await index.upsert(generation, [with_tokens(entry("new"), [1, 0, 0, 0])])
    question = asking(request_for(), [1, 0, 0, 0])
    assert {found.passage.id for found in await index.search(question)} == {"old", "new"}


async def test_token_vectors_decide_between_near_passages(
    config: RetrievalConfig, opened: Opened, entry: Entry, request_for: Request, generation: IndexGeneration
) -> None:
    index = await opened(config.model_copy(update={"late_weight": 0.7}))
    first, second = entry("first", (1, 0.1, 0, 0)), entry("second", (1, 0.2, 0, 0))
    await index.upsert(generation, [with_tokens(first, [1, 1, 1, 1]), with_tokens(second, [1, -1, 1, -1])])
    assert await ranked(index, request_for()) == ["first", "second"]
    question = asking(request_for(), [1, -1, 1, -1])
    assert await ranked(index, question) == ["second", "first"]
    index.close()
    assert await ranked(await opened(config.model_copy(update={"late_weight": 0.0})), question) == ["first", "second"]


async def test_passages_in_another_language_are_compared_with_the_shifted_question(
    config: RetrievalConfig, opened: Opened, entry: Entry, generation: IndexGeneration, request_for: Request
) -> None:
    index = await opened(config.model_copy(update={"late_weight": 0.0}))
    own, other = entry("own", (1, 0.5, 0, 0)), entry("other", (0, 1, 0, 0.1), language="en")
    await index.upsert(generation, [own, other])
    question = request_for((1, 0.2, 0, 0))
    assert await ranked(index, question) == ["own", "other"]
    shift = LanguageShift("en", np.array([-1, 0, 0, 0], np.float32))
    shifted = replace(question, dense=replace(question.dense, shift=shift))
    found = await index.search(shifted)
    assert [each.passage.id for each in found] == ["other", "own"]
    (before,) = [each.scores.dense for each in await index.search(question) if each.passage.id == "own"]
    assert found[1].scores.dense == pytest.approx(before), "nothing changes for passages of its own language"


async def test_so_are_their_token_vectors(
    config: RetrievalConfig, opened: Opened, entry: Entry, generation: IndexGeneration, request_for: Request
) -> None:
    index = await opened(config.model_copy(update={"late_weight": 1.0}))
    own = with_tokens(entry("own", (1, 0.1, 0, 0)), [1, 1, 1, 1])
    other = with_tokens(entry("other", (1, 0.2, 0, 0), language="en"), [1, -1, 1, -1])
    await index.upsert(generation, [own, other])
    question = asking(request_for(), [1, 0.2, 0, 0])
    assert await ranked(index, question) == ["own", "other"]
    shift = LanguageShift("en", np.zeros(4, np.float32), np.array([0, -2, 1, -1], np.float32))
    assert await ranked(index, replace(question, dense=replace(question.dense, shift=shift))) == ["other", "own"]


async def test_token_vectors_are_copied_and_removed_with_their_passages(
    folder: Path, config: RetrievalConfig, opened: Opened, entry: Entry, generation: IndexGeneration
) -> None:
    index = await opened(config)
    await index.upsert(generation, [with_tokens(entry("a"), [1, 0, 0, 0])])
    assert await index.copy("t", VersionCopy("doc-a", "v1", "v2", {}, ()), limit=5) == 1
    with sqlite3.connect(folder / "passages.db") as database:
        kept = database.execute("SELECT packed FROM token_vectors").fetchall()
        assert len(kept) == 2
        assert kept[0] == kept[1]
        await index.delete("t", "doc-a")
        assert not database.execute("SELECT packed FROM token_vectors").fetchall()
    database.close()


def with_tokens(entry: IndexEntry, *tokens: Sequence[float]) -> IndexEntry:
    return replace(entry, tokens=pack(np.array(tokens, np.float32)))


def asking(request: RetrievalRequest, *tokens: Sequence[float]) -> RetrievalRequest:
    return replace(request, dense=replace(request.dense, question_tokens=np.array(tokens, np.float32)))


async def ranked(index: Index, request: RetrievalRequest) -> list[str]:
    return [found.passage.id for found in await index.search(request)]


@pytest.fixture
def damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / "passages.db").write_bytes(b"nothing of SQLite's" * 1000)


@pytest.mark.usefixtures("damaged")
async def test_a_damaged_file_is_unavailable(config: RetrievalConfig) -> None:
    index = EmbeddedIndex(config)
    with pytest.raises(StageUnavailable, match="not a database"):
        await index.open()
    index.close()


KILLED = """
import asyncio, os, signal, sys, pickle
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.embedded.index import EmbeddedIndex
generation, batches, request = pickle.load(sys.stdin.buffer)
async def main():
    index = EmbeddedIndex(RetrievalConfig(uri=sys.argv[1]))
    await index.open()
    if request is not None:
        await index.search(request)
    for number, batch in enumerate(batches):
        await index.upsert(generation, batch)
        print(number, flush=True)
    await index.delete("t", "doc-0")
    print("deleted", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""


class Victim:
    """A process that writes batches, tells each that was acknowledged, removes `doc-0`, tells that too, and waits."""

    def __init__(self, folder: Path, given: tuple[Any, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(given))
        self._process.stdin.flush()

    def told_until(self, last: str) -> list[str]:
        """What it told up to this; then it is killed."""
        assert self._process.stdout is not None
        told: list[str] = []
        while not told or told[-1] != last:
            line = self._process.stdout.readline().decode().strip()
            assert line, f"it ended after {told}"
            told.append(line)
        self._process.kill()
        self._process.communicate()
        return told


async def test_what_was_acknowledged_outlives_a_kill_and_nothing_is_there_twice(
    folder: Path,
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
) -> None:
    """Each round writes new passages and those of the round before again, and is killed anywhere in it."""
    chance = random.Random(1)
    kept: set[str] = set()
    for killed in range(5):
        batches = [
            [entry(f"{killed - again}-{batch}-{place}", (1, place, batch, 0)) for again in (0, 1) for place in range(8)]
            for batch in range(12)
        ]
        victim = await asyncio.to_thread(Victim, folder, (generation, batches, None))
        told = await asyncio.to_thread(victim.told_until, str(chance.randrange(12)))
        kept |= {each.passage.id for number in told for each in batches[int(number)]}
        index = await opened(config.model_copy(update={"lock_timeout_s": 60}))
        found = await ids(index, request_for(limit=10_000))
        assert kept <= set(found)
        assert len(found) == len(set(found))
        index.close()


async def test_a_removal_that_was_acknowledged_outlives_a_kill(
    folder: Path,
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
) -> None:
    victim = await asyncio.to_thread(Victim, folder, (generation, [[entry("0"), entry("1")]], request_for()))
    await asyncio.to_thread(victim.told_until, "deleted")
    assert await ids(await opened(config), request_for()) == ["1"]


async def test_searches_beside_writes_always_see_every_passage_once(
    config: RetrievalConfig, opened: Opened, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    index = await opened(config)
    stable = [entry(str(n)) for n in range(20)]
    await index.upsert(generation, stable)

    async def write() -> None:
        for n in range(10):
            await index.upsert(generation, [*stable[: 2 * n], entry(f"new-{n}")])
            await index.delete("t", f"doc-new-{n}")

    writes = asyncio.ensure_future(write())
    searches = 0
    while not writes.done():
        found = await ids(index, request_for(lexical={10: 1.0}))
        assert len(found) == len(set(found))
        assert {str(n) for n in range(20)} <= set(found)
        searches += 1
    await writes
    assert searches > 1


async def test_a_failed_write_leaves_nothing_behind(
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = await opened(config)
    await index.upsert(generation, [entry("a", text="old")])
    assert await ids(index, request_for()) == ["a"]

    def full(*_: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(index._store, "insert", full)
        with pytest.raises(StageUnavailable, match="disk is full"):
            await index.upsert(generation, [entry("a", text="new"), entry("b")])
    (found,) = await index.search(request_for())
    assert found.passage.text == "old"
    await index.upsert(generation, [entry("b")])
    assert await ids(index, request_for()) == ["a", "b"]


async def test_a_segment_that_could_not_be_changed_is_loaded_again(
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = await opened(config)
    await index.upsert(generation, [entry("a")])
    await index.search(request_for())

    def no_memory(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(segment.Segment, "replace", no_memory)
        with pytest.raises(StageUnavailable):
            await index.upsert(generation, [entry("b")])
    assert await ids(index, request_for()) == ["a", "b"]


async def test_a_fingerprint_keeps_its_dimension(
    config: RetrievalConfig, opened: Opened, generation: IndexGeneration, entry: Entry
) -> None:
    index = await opened(config)
    await index.upsert(generation, [entry("a")])
    with pytest.raises(InvalidRequest, match="another fingerprint"):
        await index.upsert(replace(generation, dimension=2), [entry("b", (1, 0))])


async def test_a_call_that_takes_too_long_is_given_up(
    config: RetrievalConfig, opened: Opened, request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await opened(config.model_copy(update={"timeout_s": 0.5}))
    stuck = threading.Event()
    monkeypatch.setattr(index._store, "check", stuck.wait)
    with pytest.raises(StageUnavailable, match=r"0\.5 s \(retrieval\.timeout_s\)"):
        await index.check()
    stuck.set()


async def test_tenants_that_were_not_searched_for_long_leave_memory_and_come_back(
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = await opened(config)
    for tenant in ("a", "b", "c"):
        await index.upsert(generation, [entry(f"{tenant}{n}", tenant_id=tenant) for n in range(3)])
    await index.search(request_for(tenant_id="a"))
    (loaded,) = index._segments.values()
    monkeypatch.setattr(index, "_room", 2 * loaded.size)
    for tenant in ("b", "a", "c", "b", "a"):
        assert await ids(index, request_for(tenant_id=tenant)) == [f"{tenant}{n}" for n in range(3)]
        assert len(index._segments) <= 2
    assert {key.tenant_id for key in index._segments} == {"a", "b"}
    await index.upsert(generation, [entry("c3", tenant_id="c")])
    assert await ids(index, request_for(tenant_id="c")) == ["c0", "c1", "c2", "c3"]


async def test_any_history_of_writes_and_searches_is_the_fake_s(
    config: RetrievalConfig,
    opened: Opened,
    generation: IndexGeneration,
    entry: Entry,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small blocks, early compaction and little memory, so that a short history meets all of them."""
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 16)
    monkeypatch.setattr(segment, "DEAD_ROWS_KEPT", 8)
    monkeypatch.setattr(segment, "MAX_METADATA_COLUMNS", 2)
    random = np.random.default_rng(3)
    index, fake = await opened(config), FakeIndex(config)
    filters = [
        None,
        parse("metadata.year >= 2003"),
        parse("not metadata.kind == 'a' or document_id in ['d1', 'd2']"),
        parse("metadata.year != 2001 and metadata.kind < 'b' and metadata.flag == true"),
    ]

    def some_entry() -> IndexEntry:
        document, version = random.integers(6), random.integers(3)
        year, kind = int(random.integers(2000, 2006)), "abc"[random.integers(3)]
        terms = zip(random.integers(1, 9, 3).tolist(), (random.random(3) + 0.1).tolist(), strict=True)
        return entry(
            f"p{random.integers(60)}",
            tuple(random.standard_normal(4)),
            dict(terms),
            document_id=f"d{document}",
            version=f"v{version}",
            owner=("", "", "ana", "ivo")[random.integers(4)],
            collection="cd"[random.integers(2)],
            tenant_id="tu"[random.integers(2)],
            position=int(random.integers(4)),
            metadata={"year": year, "kind": kind, "flag": bool(document % 2)},
        )

    def some_request(limit: int) -> RetrievalRequest:
        return request_for(
            tuple(random.standard_normal(4)),
            {int(term): 1.0 for term in random.integers(1, 9, 2)},
            limit=limit,
            tenant_id="tu"[random.integers(2)],
            user_id=("", "ana")[random.integers(2)],
            collections=((), ("c",))[random.integers(2)],
            filter=filters[random.integers(len(filters))],
            visible=(
                None,
                VisibleVersions("v1", ("v0",)),
                VisibleVersions("v9", hidden_runs=(VersionRun("v0", "v0x"), VersionRun("v2", "v3"))),
            )[random.integers(3)],
        )

    def described(found: list[Any]) -> list[Any]:
        return [
            (each.passage, *(pytest.approx(score, abs=1e-5) for score in (each.scores.dense, each.scores.lexical)))
            for each in sorted(found, key=lambda each: each.passage.id)
        ]

    for step in range(300):
        match random.integers(8):
            case 0 | 1 | 2:
                entries = [some_entry() for _ in range(random.integers(1, 20))]
                for each in (index, fake):
                    await each.upsert(generation, entries)
            case 3:
                document = f"d{random.integers(6)}"
                removed = [await each.delete("t", document) for each in (index, fake)]
                assert removed[0] == removed[1]
            case 4:
                versions = [DocumentVersion(f"d{random.integers(6)}", f"v{random.integers(3)}") for _ in range(2)]
                removed = [await each.delete_versions("u", versions) for each in (index, fake)]
                assert removed[0] == removed[1]
            case 5 if step >= 150:
                copy = VersionCopy(f"d{random.integers(6)}", "v0", "v1", {"year": 2009}, ("year", "kind"))
                copied = [await each.copy("t", copy, limit=3) for each in (index, fake)]
                assert copied[0] == copied[1]
            case _:
                # Copies have equal scores, so from then on nothing is cut off.
                request = some_request(int(random.integers(1, 30)) if step < 150 else 1_000)
                mine, theirs = [described(await each.search(request)) for each in (index, fake)]
                assert mine == theirs, step


async def test_many_questions_at_once_get_the_answers_they_would_get_alone(
    config: RetrievalConfig, opened: Opened, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    index = await opened(config)
    random = np.random.default_rng(1)
    await index.upsert(
        generation,
        [
            entry(
                f"p{n}",
                tuple(random.standard_normal(4)),
                {11 + n % 5: 0.5 + n / 100},
                tenant_id="tu"[n % 2],
                metadata={"n": n},
            )
            for n in range(80)
        ],
    )
    requests = [
        replace(
            request_for(
                tuple(random.standard_normal(4)),
                {11 + n % 5: 1.0} if n % 4 else {},
                limit=1 + n % 7,
                tenant_id="tu"[n % 2],
                filter=parse(f"metadata.n < {20 + n}") if n % 3 else None,
            )
        )
        for n in range(40)
    ]
    requests[5] = replace(requests[5], dense=replace(requests[5].dense, vectors=requests[5].dense.vectors[:0]))
    together = await asyncio.gather(*map(index.search, requests))
    for request, found in zip(requests, together, strict=True):
        alone = await index.search(request)
        assert [each.passage for each in found] == [each.passage for each in alone]
        for mine, yours in zip(found, alone, strict=True):
            assert mine.scores.fused == pytest.approx(yours.scores.fused, abs=1e-6)
