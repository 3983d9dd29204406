"""The embedded index while its process is killed: SIGKILL in a mix of writes, replacements and deletions, and the
reckoning after each. What was acknowledged is there, once; what was under way is there whole or not at all."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.capacity_material import GENERATION, PASSAGES_IN_DOCUMENT, Material
from benchmarks.service import PREFIX, report
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.embedded.index import EmbeddedIndex
from deployments.types import IndexEntry

TENANT, DOCUMENTS = "t", 40
Contents = dict[str, str]
"""Passage id → its text."""


class Change(NamedTuple):
    """A document's first passages with a new text, or, with none, the document's removal."""

    document: int
    passages: int
    text: str

    @classmethod
    def parsed(cls, told: str) -> Change:
        document, passages, text = told.split()
        return cls(int(document), int(passages), text)

    def applied(self, before: Contents, pool: list[IndexEntry]) -> Contents:
        ids = [entry.passage.id for entry in self.of(pool)]
        if not self.passages:
            return {id: text for id, text in before.items() if id not in set(ids)}
        return before | dict.fromkeys(ids[: self.passages], self.text)

    def of(self, pool: list[IndexEntry]) -> list[IndexEntry]:
        return pool[self.document * PASSAGES_IN_DOCUMENT :][:PASSAGES_IN_DOCUMENT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    pool = Material(seed=1).entries(TENANT, DOCUMENTS * PASSAGES_IN_DOCUMENT)
    contents: Contents = {}
    acknowledged = under_way = 0
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        for number in range(arguments.rounds):
            done, begun = killed(Path(folder) / "index", pool, number)
            for change in done:
                contents = change.applied(contents, pool)
            found = reckoned(Path(folder) / "index" / "passages.db")
            if found != contents:
                assert begun is not None, f"round {number}: an acknowledged change is lost"
                contents = begun.applied(contents, pool)
                assert found == contents, f"round {number}: a change was made by half"
                under_way += 1
            acknowledged += len(done)
    report(
        {"kills": arguments.rounds, "acknowledged": acknowledged, "lost": 0, "doubled": 0, "whole_under_way": under_way}
    )


def killed(folder: Path, pool: list[IndexEntry], seed: int) -> tuple[list[Change], Change | None]:
    """Let a process change the index, and kill it anywhere. What was acknowledged, and what was under way."""
    chance = random.Random(seed)
    reading, writing = os.pipe()
    # Forked before this process has any thread, so that a round does not wait for imports.
    process = os.fork()
    if process == 0:
        os.close(reading)
        asyncio.run(change_for_ever(folder, pool, seed, writing))
    os.close(writing)
    told = b""
    with closing(os.fdopen(reading, "rb", buffering=0)) as pipe:
        wanted = chance.randrange(4, 40)
        while told.count(b"\n") < wanted:
            told += pipe.read(4096)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        told += b"".join(iter(lambda: pipe.read(65_536), b""))
    return _parsed(told.decode())


def _parsed(told: str) -> tuple[list[Change], Change | None]:
    done, begun = [], None
    for line in told.splitlines():
        word, _, change = line.partition(" ")
        begun = Change.parsed(change)
        if word == "done":
            done.append(begun)
            begun = None
    return done, begun


async def change_for_ever(folder: Path, pool: list[IndexEntry], seed: int, told: int) -> None:
    index = EmbeddedIndex(RetrievalConfig(uri=str(folder)))
    await index.open()
    for change in _changes(seed):
        described = f"{change.document} {change.passages} {change.text}\n"
        os.write(told, f"begun {described}".encode())
        entries = change.of(pool)
        if change.passages:
            written = [
                replace(entry, passage=replace(entry.passage, text=change.text)) for entry in entries[: change.passages]
            ]
            await index.upsert(GENERATION, written)
        else:
            await index.delete(TENANT, entries[0].passage.document_id)
        os.write(told, f"done {described}".encode())


def _changes(seed: int) -> Iterator[Change]:
    chance, number = random.Random(f"changes {seed}"), 0
    while True:
        number += 1
        passages = 0 if chance.random() < 0.25 else chance.randrange(1, PASSAGES_IN_DOCUMENT + 1)
        yield Change(chance.randrange(DOCUMENTS), passages, f"{seed}-{number}")


def reckoned(path: Path) -> Contents:
    """What the file holds."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute(
            "SELECT id, json_extract(rest, '$.text') FROM passages JOIN vectors USING (number)"
        ).fetchall()
        counts = database.execute("SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM vectors)").fetchone()
    found = dict(rows)
    assert counts == (len(found), len(found)), f"{counts} passages and vectors, {len(found)} ids"
    return found


if __name__ == "__main__":
    main()
