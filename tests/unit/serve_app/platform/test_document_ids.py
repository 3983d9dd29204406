from __future__ import annotations

from itertools import combinations, product

import pytest

from serve_app.platform.document_ids import MAX_ID, of_file, of_text
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.new_document import NewDocument
from tests.support.storage import document

OWNERS = ("", "a", "a/b", "a%2Fb", "b", "~a", "ž@x.hr")
COLLECTIONS = ("default", "a", "b", ".", "..", "ž")
FILENAMES = ("c.pdf", "b/c.pdf", "~a/c.pdf", "~a/b/c.pdf", "default/c.pdf", "b/b/c.pdf", "/c.pdf", "~c.pdf", "100%.pdf")


def file(content: str, owner: str = "", collection: str = "default", filename: str = "c.pdf") -> NewDocument:
    new = document(content=content, owner=owner, collection=collection, filename=filename)
    return new.replaced(id=of_file(owner, collection, filename))


async def accept(jobs: Jobs, new: NewDocument) -> str:
    [document_id] = (await jobs.accept("a", [new])).documents
    return document_id


async def index_under_former_id(jobs: Jobs, new: NewDocument, former: str) -> None:
    await jobs.accept("a", [new.replaced(id=former)])


def test_no_two_files_have_one_id() -> None:
    places = [*product(OWNERS, COLLECTIONS, FILENAMES)]
    for one, other in combinations(places, 2):
        assert of_file(*one).preferred != of_file(*other).preferred, (one, other)


@pytest.mark.parametrize(
    ("owner", "collection", "filename", "id"),
    [
        ("", "default", "c.pdf", "c.pdf"),
        ("", "zakoni", "c.pdf", "zakoni/c.pdf"),
        ("", "zakoni", "b/c.pdf", "zakoni/b/c.pdf"),
        ("", "default", "b/c.pdf", "default/b/c.pdf"),
        ("", "default", "~c.pdf", "default/~c.pdf"),
        ("a", "default", "c.pdf", "~a/c.pdf"),
        ("a", "default", "b/c.pdf", "~a/default/b/c.pdf"),
        ("a/b", "default", "100%.pdf", "~a%2Fb/100%.pdf"),
        ("ž@x.hr", "zakoni", "čitaj.md", "~ž@x.hr/zakoni/čitaj.md"),
    ],
)
def test_an_id_says_whose_file_it_is(owner: str, collection: str, filename: str, id: str) -> None:
    assert of_file(owner, collection, filename).preferred == id


def test_an_id_that_would_be_too_long_is_a_digest() -> None:
    long = of_file("u" * 200, "default", "f" * 200).preferred
    assert long.startswith("file-")
    assert len(long) <= MAX_ID
    assert long != of_file("u" * 199, "default", "f" * 201).preferred


def test_the_same_text_in_two_collections_is_two_documents() -> None:
    assert of_text("", "default", "", "c" * 64).preferred != of_text("", "zakoni", "", "c" * 64).preferred


async def test_two_files_that_shared_an_id_are_two_documents(jobs: Jobs) -> None:
    first = await accept(jobs, file("one", owner="a", filename="b/c.pdf"))
    second = await accept(jobs, file("two", owner="a", collection="b"))
    assert first != second
    assert await accept(jobs, file("three", owner="a", filename="b/c.pdf")) == first
    assert await accept(jobs, file("four", owner="a", collection="b")) == second


async def test_a_document_keeps_the_id_that_an_earlier_release_gave_it(jobs: Jobs) -> None:
    old = file("one", owner="a", filename="b/c.pdf")
    await index_under_former_id(jobs, old, "~a/b/c.pdf")
    assert await accept(jobs, file("two", owner="a", filename="b/c.pdf")) == "~a/b/c.pdf"


async def test_an_id_of_an_earlier_release_is_not_taken_from_its_document(jobs: Jobs) -> None:
    await index_under_former_id(jobs, file("one", owner="a", filename="b/c.pdf"), "~a/b/c.pdf")
    other = await accept(jobs, file("two", owner="a", collection="b"))
    assert other.startswith("file-")
    assert await accept(jobs, file("three", owner="a", collection="b")) == other
    assert await accept(jobs, file("four", owner="a", filename="b/c.pdf")) == "~a/b/c.pdf"


async def test_a_document_keeps_its_second_id_once_the_first_is_free(jobs: Jobs) -> None:
    await index_under_former_id(jobs, file("one", owner="a", filename="b/c.pdf"), "~a/b/c.pdf")
    spare = await accept(jobs, file("two", owner="a", collection="b"))
    await Documents(jobs.database, clock=jobs.clock).delete("a", "~a/b/c.pdf")
    assert await accept(jobs, file("three", owner="a", collection="b")) == spare


async def test_a_text_keeps_the_id_that_an_earlier_release_gave_it(jobs: Jobs) -> None:
    new = document(content="text", collection="zakoni")
    ids = of_text("", "zakoni", "", new.content_hash)
    await jobs.accept("a", [new.replaced(id=ids.former)])
    assert await accept(jobs, new) == ids.former
    in_default = await accept(jobs, document(content="text"))
    assert in_default not in (ids.former, ids.preferred)
