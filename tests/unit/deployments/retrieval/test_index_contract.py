"""What every index must do, run against the fake, the embedded index and a Milvus server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployments.errors import InvalidRequest
from deployments.filters import parse
from deployments.retrieval.base import Index
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    RetrievalRequest,
    VersionCopy,
    VersionRun,
    VisibleVersions,
)

Entry = Callable[..., IndexEntry]
Request = Callable[..., RetrievalRequest]


def ids(candidates: list[Candidate]) -> list[str]:
    return [candidate.passage.id for candidate in candidates]


async def test_a_passage_comes_back_whole(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    metadata: dict[str, Any] = {"year": 2018, "tags": ["a", {"b": None}], "odd key/€": 'q"\\', "public": True, "x": 1.5}
    stored = entry(
        "p1", document_id="d", version="v9", owner="ana", collection="zakoni", language="en", position=7,
        title="Žalba", text="Rok je 15 dana.\n„Đ”", metadata=metadata,
    )  # fmt: skip
    await index.upsert(generation, [stored])
    (found,) = await index.search(request_for(user_id="ana"))
    assert found.passage == stored.passage


def without_vector(request: RetrievalRequest) -> RetrievalRequest:
    return replace(request, dense=replace(request.dense, vectors=request.dense.vectors[:0]))


async def test_a_question_without_a_vector_is_found_by_its_terms_alone(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(
        generation,
        [entry("weak", lexical={7: 1.0}), entry("strong", lexical={7: 2.0}), entry("other", lexical={8: 1.0})],
    )
    found = await index.search(without_vector(request_for(lexical={7: 1.0})))
    assert ids(found) == ["strong", "weak"]
    assert [(candidate.scores.dense, candidate.scores.lexical, candidate.scores.fused) for candidate in found] == [
        (None, 2, 1),
        (None, 1, 0.5),
    ]
    assert await index.search(without_vector(request_for(lexical={7: 1.0}, fingerprint="f2"))) == []


async def test_an_empty_index_finds_nothing(index: Index, request_for: Request) -> None:
    assert await index.search(request_for()) == []


async def test_both_halves_are_fused_and_scored(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(
        generation,
        [
            entry("near", (1, 0.1, 0, 0), {7: 1.0}),
            entry("far", (0.1, 1, 0, 0), {8: 2.0}),
            entry("other", (0, 0, 1, 0), {9: 2.0}),
        ],
    )
    found = await index.search(request_for((1, 0, 0, 0), {8: 1.0, 7: 0.2}, limit=2))
    by_id = {candidate.passage.id: candidate.scores for candidate in found}
    assert ids(found) == ["near", "far"]
    assert by_id["near"].dense == pytest.approx(0.995, abs=1e-3)
    assert by_id["near"].lexical == pytest.approx(0.2)
    assert by_id["near"].fused == pytest.approx(0.8 + 0.2 * 0.1)
    assert by_id["far"].lexical == pytest.approx(2.0)
    assert by_id["far"].fused == pytest.approx(0.2)


async def test_each_half_brings_its_own_candidates_with_the_other_halfs_score(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("d", (1, 0, 0, 0), {7: 1.0}), entry("l", (0.6, 0.8, 0, 0), {8: 1.0})])
    found = {
        candidate.passage.id: candidate.scores
        for candidate in await index.search(request_for((1, 0, 0, 0), {8: 1.0}, limit=1))
    }
    assert found["d"].lexical == 0
    assert found["l"].dense == pytest.approx(0.6)


async def test_the_lexical_half_leads_in_a_language_that_the_embedder_does_not_know(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("d", (1, 0, 0, 0), {7: 1.0}), entry("l", (0.1, 1, 0, 0), {8: 1.0})])
    assert ids(await index.search(request_for((1, 0, 0, 0), {8: 1.0}, languages=("hr",)))) == ["d", "l"]
    assert ids(await index.search(request_for((1, 0, 0, 0), {8: 1.0}, languages=("en",)))) == ["l", "d"]


async def test_without_lexical_terms_the_dense_half_stands_alone(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("a", (0.6, 0.8, 0, 0))])
    (found,) = await index.search(request_for((1, 0, 0, 0), languages=("en",)))
    assert found.scores.lexical is None
    assert found.scores.fused == pytest.approx(1.0)


async def test_a_passage_without_terms_is_found_by_its_vector(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("a", (1, 0, 0, 0), {})])
    (found,) = await index.search(request_for((1, 0, 0, 0), {8: 1.0}))
    assert found.scores.lexical == 0


async def test_tenants_never_meet_even_under_the_same_ids(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("p", tenant_id="a", text="a's"), entry("p", tenant_id="b", text="b's")])
    for tenant in ("a", "b"):
        (found,) = await index.search(request_for(lexical={10: 1.0}, tenant_id=tenant))
        assert found.passage.text == f"{tenant}'s"
    assert await index.search(request_for(tenant_id="c")) == []
    assert await index.delete("a", "doc-p") == 1
    assert ids(await index.search(request_for(tenant_id="b"))) == ["p"]


async def test_private_passages_are_their_owners_alone(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("shared"), entry("ana's", owner="ana"), entry("ivo's", owner="ivo")])
    assert set(ids(await index.search(request_for(user_id="ana")))) == {"shared", "ana's"}
    assert ids(await index.search(request_for())) == ["shared"]
    assert ids(await index.search(request_for(user_id='" or owner != "'))) == ["shared"]


async def test_collections_narrow(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry(name, collection=name) for name in ("x", "y", "z")])
    assert set(ids(await index.search(request_for(collections=("x", "z", 'q"]'))))) == {"x", "z"}


async def test_a_filter_narrows(index: Index, generation: IndexGeneration, entry: Entry, request_for: Request) -> None:
    await index.upsert(
        generation,
        [
            entry("old", metadata={"year": 1999, "type": "zakon"}),
            entry("new", metadata={"year": 2019, "type": "zakon"}),
            entry("none"),
        ],
    )
    found = await index.search(request_for(filter=parse("metadata.year >= 2018 and metadata.type == 'zakon'")))
    assert ids(found) == ["new"]
    found = await index.search(request_for(filter=parse("not metadata.year >= 2018"), lexical={10: 1.0}))
    assert set(ids(found)) == {"old", "none"}


async def test_the_same_id_replaces(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    first = entry("p", (1, 0, 0, 0), {7: 1.0}, text="old", metadata={"a": 1, "b": 1})
    await index.upsert(generation, [first])
    await index.upsert(generation, [entry("p", (0, 1, 0, 0), {8: 1.0}, text="new", metadata={"b": "x"})])
    (found,) = await index.search(request_for((0, 1, 0, 0), {8: 1.0}))
    assert (found.passage.text, found.passage.metadata) == ("new", {"b": "x"})
    assert found.scores.dense == pytest.approx(1)
    assert found.scores.lexical == pytest.approx(1)
    assert await index.search(request_for(filter=parse("metadata.a == 1"))) == []
    assert await index.delete("t", "doc-p") == 1


async def test_the_last_of_two_entries_with_one_id_wins(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("p", text="first"), entry("p", text="last")])
    (found,) = await index.search(request_for())
    assert found.passage.text == "last"


async def test_a_version_s_passages_are_read_in_order_window_by_window(
    index: Index, generation: IndexGeneration, entry: Entry
) -> None:
    metadata = {"year": 2018, "headings": ["I."]}
    stored = [entry(f"p{n}", document_id="d", version="v2", position=n, metadata=metadata) for n in (3, 0, 2, 1)]
    others = [
        entry("old", document_id="d", version="v1"),
        entry("e", document_id="e", version="v2"),
        entry("p0", document_id="d", version="v2", tenant_id="other", text="theirs"),
    ]
    await index.upsert(generation, [*stored, *others])
    by_position = sorted((stored_entry.passage for stored_entry in stored), key=lambda passage: passage.position)
    assert await index.read("t", "d", "v2", limit=3) == by_position[:3]
    assert await index.read("t", "d", "v2", after=2, limit=3) == by_position[3:]
    assert await index.read("t", "d", "v2", after=3, limit=3) == []
    assert await index.read("t", "d", "v3", limit=3) == []


async def test_passages_that_two_embedders_have_are_read_once(
    index: Index, generation: IndexGeneration, entry: Entry
) -> None:
    assert await index.read("t", "d", "v1", limit=3) == []
    for fingerprint in ("f1", "f2"):
        await index.upsert(replace(generation, name=fingerprint), [entry("1", document_id="d")])
    assert [passage.id for passage in await index.read("t", "d", "v1", limit=3)] == ["1"]


async def test_a_version_is_copied_with_other_metadata_and_the_same_vectors(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    old: dict[str, Any] = {"year": 2018, "type": "zakon", "draft": True}
    stored = [
        entry(f"p{n}", (1, n, 0, 0), {7: 1.0 + n}, document_id="d", position=n, metadata={**old, "headings": [str(n)]})
        for n in range(3)
    ]
    theirs = entry("p0", document_id="d", tenant_id="other", metadata=old)
    await index.upsert(generation, [*stored, theirs, entry("e", document_id="e", metadata=old)])
    copy = VersionCopy("d", "v1", "v2", {"year": 2019, "type": 1}, tuple(old))
    assert await index.copy("t", copy, limit=2) == 2
    assert await index.copy("t", copy, after=1, limit=2) == 1
    assert await index.copy("t", copy, after=1, limit=2) == 1, "twice is once"
    assert await index.copy("t", copy, after=2, limit=2) == 0
    copies = await index.read("t", "d", "v2", limit=10)
    for made, was in zip(copies, stored, strict=True):
        expected = {"year": 2019, "type": 1, "headings": was.passage.metadata["headings"]}
        assert made == replace(was.passage, id=made.id, version="v2", metadata=expected)
    assert await index.read("t", "d", "v1", limit=10) == [stored_entry.passage for stored_entry in stored]
    scores = []
    for condition in ("metadata.year == 2019", "metadata.draft == true and document_id == 'd'"):
        found = await index.search(request_for((1, 1, 0, 0), {7: 1.0}, filter=parse(condition)))
        scores.append(
            {candidate.passage.position: (candidate.scores.dense, candidate.scores.lexical) for candidate in found}
        )
    assert len(scores[0]) == 3
    assert scores[0] == scores[1]
    for old_key in ("metadata.type == 'zakon'", "metadata.draft == true"):
        assert await index.search(request_for(filter=parse(f"metadata.year == 2019 and {old_key}"))) == []
    assert await index.delete_versions("t", [DocumentVersion("d", "v1")]) == 3
    assert len(await index.read("t", "d", "v2", limit=10)) == 3


async def test_a_copy_that_does_not_fit_is_refused(index: Index, generation: IndexGeneration, entry: Entry) -> None:
    await index.upsert(generation, [entry("p", document_id="d", lexical={})])
    with pytest.raises(InvalidRequest, match="metadata "):
        await index.copy("t", VersionCopy("d", "v1", "v2", {"x": "y" * 40_000}, ()), limit=1)
    assert await index.read("t", "d", "v2", limit=1) == []
    assert await index.copy("t", VersionCopy("d", "v1", "v2", {"x": "y"}, ()), limit=1) == 1


async def test_a_copy_reaches_every_embedders_passages(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    for fingerprint in ("f1", "f2"):
        await index.upsert(replace(generation, name=fingerprint), [entry("1", document_id="d")])
    assert await index.copy("t", VersionCopy("d", "v1", "v2", {"n": 1}, ()), limit=5) == 1
    for fingerprint in ("f1", "f2"):
        [found] = await index.search(request_for(fingerprint=fingerprint, filter=parse("metadata.n == 1")))
        assert found.passage.version == "v2"


async def test_delete_removes_a_document_and_counts(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(
        generation, [entry("1", document_id="d"), entry("2", document_id="d"), entry("3", document_id="e")]
    )
    assert await index.delete("t", "d") == 2
    assert await index.delete("t", "d") == 0
    assert ids(await index.search(request_for(lexical={10: 1.0}))) == ["3"]
    await index.upsert(generation, [entry("1", document_id="d")])
    assert set(ids(await index.search(request_for(lexical={10: 1.0})))) == {"1", "3"}


async def test_delete_versions_removes_those_and_no_others(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry(version, document_id="d", version=version) for version in ("v1", "v2", "v3")])
    await index.upsert(generation, [entry("e", document_id="e", version="v1")])
    await index.upsert(generation, [entry("other", tenant_id="other", document_id="d", version="v1")])
    gone = [DocumentVersion("d", "v1"), DocumentVersion("d", "v3"), DocumentVersion("none", "v9")]
    assert await index.delete_versions("t", gone * 40) == 2
    assert sorted(ids(await index.search(request_for()))) == ["e", "v2"]
    assert ids(await index.search(request_for(tenant_id="other"))) == ["other"]


async def test_unseen_versions_take_no_place_among_the_candidates(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    old = [entry(f"old{n}", document_id="d", version="old") for n in range(5)]
    new = [entry(f"new{n}", document_id="d", version="new") for n in range(5)]
    await index.upsert(generation, [*old, *new])
    request = request_for(lexical={10: 1.0}, limit=5)
    for visible, expected in (
        (VisibleVersions("z", ("old", "never written")), "new"),
        (VisibleVersions("z", ("new", "never written")), "old"),
        (VisibleVersions("new", ("old",)), "new"),
        (VisibleVersions("nev"), ""),
        (VisibleVersions("old", ("new",)), "old"),
        (VisibleVersions("olc", ("new",)), ""),
        (VisibleVersions("z", hidden_runs=(VersionRun("a", "b"), VersionRun("neu", "nex"))), "old"),
        (VisibleVersions("z", hidden_runs=(VersionRun("new", "nex"), VersionRun("p", "q"))), "old"),
        (VisibleVersions("z", ("new",), hidden_runs=(VersionRun("ol", "olc"), VersionRun("ole", "olf"))), "old"),
        (VisibleVersions("z", hidden_runs=(VersionRun("o", "old"),)), "new"),
        (VisibleVersions("z", ("old",), hidden_runs=(VersionRun("a", "new"),)), ""),
    ):
        found = ids(await index.search(replace(request, scope=replace(request.scope, visible=visible))))
        assert sorted(found) == ([f"{expected}{n}" for n in range(5)] if expected else [])


async def test_delete_reaches_every_generation(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("1", document_id="d")])
    await index.upsert(replace(generation, name="f2"), [entry("1", document_id="d")])
    assert await index.delete("t", "d") == 2
    assert await index.search(request_for(fingerprint="f2")) == []


async def test_a_search_finds_the_live_generation_whatever_embedded_the_question(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    other = replace(generation, name="f2", dimension=2)
    await index.upsert(generation, [entry("1")])
    await index.upsert(other, [entry("new", (0, 1))])
    assert ids(await index.search(request_for((0, 1), fingerprint="f2"))) == ["new"]
    assert ids(await index.search(request_for())) == ["1"]
    request = without_vector(request_for(fingerprint="of a third embedder", lexical={10: 1.0}))
    for live, expected in ((generation, ["1"]), (other, ["new"]), (replace(generation, name="f3"), [])):
        scope = replace(request.scope, visible=VisibleVersions("z", generation=live))
        assert ids(await index.search(replace(request, scope=scope))) == expected


async def test_generations_are_measured_read_copied_and_purged_apart(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    """Two generations have a version under the same ids, cut otherwise."""
    other = replace(generation, name="f2", dimension=2)
    await index.upsert(generation, [entry(f"p{n}", document_id="d", position=n, text="old") for n in range(3)])
    await index.upsert(other, [entry(f"p{n}", (0, 1), document_id="d", position=n, text="new") for n in range(2)])
    await index.upsert(other, [entry("theirs", (0, 1), tenant_id="other")])
    assert await index.measure("t", "f1") == GenerationSize(3, 4)
    assert await index.measure("t", "f2") == GenerationSize(2, 2)
    assert (await index.measure("nobody", "f2")).passages == 0
    assert await index.measure("t", "f3") == GenerationSize(0, 0)
    for name, texts in (("f1", ["old"] * 3), ("f2", ["new"] * 2), ("f3", [])):
        read = await index.read("t", "d", "v1", generation=name, limit=10)
        assert [passage.text for passage in read] == texts
    copy = VersionCopy("d", "v1", "v2", {"year": 2018}, ())
    assert await index.copy("t", copy, generation="f2", limit=10) == 2
    assert await index.read("t", "d", "v2", generation="f1", limit=10) == []
    assert await index.purge("t", generation="f2") == 4
    assert (await index.measure("other", "f2")).passages == 1
    assert ids(await index.search(request_for(limit=9))) == ["p0", "p1", "p2"]


async def test_fingerprints_of_any_form_are_kept_apart(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    for fingerprint in ("org/model@1:mean", "org_model_1_mean"):
        await index.upsert(replace(generation, name=fingerprint), [entry(fingerprint)])
    for fingerprint in ("org/model@1:mean", "org_model_1_mean"):
        assert ids(await index.search(request_for(fingerprint=fingerprint))) == [fingerprint]


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("text", "č" * 40_000),
        ("title", "x" * 5_000),
        ("tenant_id", ""),
        ("id", ""),
        ("document_id", "\ud800"),
        ("metadata", {"x": "y" * 40_000}),
        ("metadata", {"x": float("nan")}),
        ("metadata", {"x": object()}),
        ("metadata", {"x": [2**63]}),
        ("metadata", {"x": {1: "a"}}),
        ("metadata", {"x": "\ud800"}),
    ],
)
async def test_what_does_not_fit_is_refused_by_name_and_nothing_is_written(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request, field: str, bad: Any
) -> None:
    good = entry("good")
    broken = entry("bad")
    broken = replace(broken, passage=replace(broken.passage, **{field: bad}))
    with pytest.raises(InvalidRequest, match=f"{field} "):
        await index.upsert(generation, [good, broken])
    assert await index.search(request_for()) == []


async def test_vectors_that_do_not_fit_are_refused(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    with pytest.raises(InvalidRequest, match="dense"):
        await index.upsert(generation, [entry("a", (1, 0))])
    with pytest.raises(InvalidRequest, match="dense"):
        await index.upsert(generation, [replace(entry("a"), dense=np.full(4, np.nan, np.float32))])
    for lexical in ({0: 1.0}, {2**32 - 1: 1.0}, {5: 0.0}, {5: float("inf")}):
        with pytest.raises(InvalidRequest, match="lexical"):
            await index.upsert(generation, [entry("a", lexical=lexical)])
    assert await index.search(request_for()) == []


async def test_the_greatest_term_id_is_stored(
    index: Index, generation: IndexGeneration, entry: Entry, request_for: Request
) -> None:
    await index.upsert(generation, [entry("a", lexical={2**32 - 2: 1.5})])
    (found,) = await index.search(request_for(lexical={2**32 - 2: 2.0}))
    assert found.scores.lexical == pytest.approx(3)


async def test_an_impossible_question_is_refused(index: Index, request_for: Request) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        await index.search(request_for(limit=0))
    several = replace(request_for().dense, vectors=np.eye(4, dtype=np.float32))
    with pytest.raises(InvalidRequest, match="one question"):
        await index.search(replace(request_for(), dense=several))
    with pytest.raises(InvalidRequest, match="a vector or terms"):
        await index.search(without_vector(request_for()))


async def test_check_passes_and_close_is_idempotent(index: Index) -> None:
    await index.check()
    index.close()
    index.close()
