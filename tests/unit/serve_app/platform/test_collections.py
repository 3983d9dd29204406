from __future__ import annotations

import re
import unicodedata

import pytest

from deployments.errors import Conflict, InvalidRequest, UnknownCollection
from serve_app.platform.collections import Collections
from serve_app.platform.database import Database
from serve_app.platform.jobs import Jobs
from tests.support.storage import document


@pytest.fixture
def collections(database: Database) -> Collections:
    return Collections(database)


async def test_the_default_is_always_there(collections: Collections) -> None:
    await collections.require("a", ["default"])
    await collections.require("a", [])


async def test_ingesting_into_a_collection_makes_it(jobs: Jobs, collections: Collections) -> None:
    await jobs.accept("a", [document(collection="zakoni"), document(collection="zakoni", content="x")])
    await collections.require("a", ["zakoni", "default"])


async def test_an_unknown_one_is_named_beside_those_of_the_tenant(collections: Collections) -> None:
    await collections.create("a", "zakoni")
    await collections.create("b", "tajno")
    says = re.escape("collections: there is no 'tajno'; there is 'default', 'zakoni'")
    with pytest.raises(UnknownCollection, match=f"^{says}$"):
        await collections.require("a", ["zakoni", "tajno"])


async def test_not_all_of_many_are_listed(collections: Collections) -> None:
    for n in range(25):
        await collections.create("a", f"c{n}")
    with pytest.raises(UnknownCollection, match=r"and 6 more$"):
        await collections.require("a", ["x"])


@pytest.mark.parametrize("name", ["Žalbe_2018.hr-1", "x" * 64, unicodedata.normalize("NFD", "žalbe")])
async def test_lawful_names(collections: Collections, name: str) -> None:
    await collections.create("a", name)
    with pytest.raises(Conflict, match="exists"):
        await collections.create("a", name)
    assert await collections.names("a") == sorted(["default", unicodedata.normalize("NFC", name)])


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "a\n", "a'b"])
async def test_unlawful_names(collections: Collections, name: str) -> None:
    with pytest.raises(InvalidRequest, match="collection"):
        await collections.create("a", name)
