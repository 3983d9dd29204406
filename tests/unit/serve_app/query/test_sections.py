from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.chunking import split_into_chunks
from deployments.ingestion.fake import word_tokenizer
from deployments.types import Candidate, Passage, Scores
from serve_app.query.sections import MAX_PARTS, Section, joined, section_of, with_whole_sections

ARTICLE = "## Članak 7.\n\n" + "\n\n".join(
    f"({n}) Odluka broj {n} donosi se bez odgode i u pisanom obliku." for n in range(9)
)
OTHER = "## Članak 8.\n\nŽalba je dopuštena."


def passages_of(text: str, *, tokens: int = 30, overlap: int = 8) -> list[Passage]:
    """As ingestion makes them."""
    chunks = split_into_chunks(ParsedDocument("", text), word_tokenizer(), chunk_tokens=tokens, overlap=overlap)
    return [
        Passage(
            f"p{chunk.position}", "d", "v1", "t", "", "law", "hr", chunk.position, "Zakon", chunk.text,
            {"characters": list(chunk.characters), "section": list(chunk.of_section)},
        )
        for chunk in chunks
    ]  # fmt: skip


def candidates(*passages: Passage) -> list[Candidate]:
    return [Candidate(passage, Scores(fused=1 / rank)) for rank, passage in enumerate(passages, 1)]


class Index:
    def __init__(self, *passages: Passage) -> None:
        self.passages = passages
        self.asked: list[Section] = []

    async def read(self, section: Section) -> Sequence[Passage]:
        self.asked.append(section)
        return [
            passage
            for passage in self.passages
            if section.first <= passage.position <= section.last
            and (passage.document_id, passage.version) == (section.document_id, section.version)
        ]


@pytest.mark.parametrize("overlap", [0, 8])
async def test_a_section_in_parts_becomes_one_source_where_its_best_part_stood(overlap: int) -> None:
    *parts, last = passages_of(f"{ARTICLE}\n\n{OTHER}", overlap=overlap)
    assert len(parts) > 2
    index = Index(*parts, last)
    found = await with_whole_sections(
        candidates(parts[1], last, parts[0], parts[2]), index.read, limit=3, max_characters=3_000
    )
    assert [candidate.passage.id for candidate in found] == ["p1", last.id]
    assert found[0].passage.text == ARTICLE
    assert found[0].passage.metadata["characters"] == [0, len(ARTICLE)]
    assert found[0].scores == Scores(fused=1.0)
    assert found[1].passage == last
    assert len(index.asked) == 1, "a section is read once, a whole passage not at all"


async def test_parts_that_become_one_make_room_for_what_comes_after() -> None:
    *parts, last = passages_of(f"{ARTICLE}\n\n{OTHER}")
    found = await with_whole_sections(candidates(*parts, last), Index(*parts).read, limit=2, max_characters=3_000)
    assert [candidate.passage.text for candidate in found] == [ARTICLE, last.text]


@pytest.mark.parametrize("max_characters", [0, 200])
async def test_a_section_that_is_too_long_stays_in_parts(max_characters: int) -> None:
    parts = passages_of(ARTICLE)
    found = await with_whole_sections(candidates(*parts), Index(*parts).read, limit=2, max_characters=max_characters)
    assert found == candidates(*parts)[:2]


async def test_a_section_of_which_a_part_is_gone_stays_in_parts() -> None:
    parts = passages_of(ARTICLE)
    found = await with_whole_sections(candidates(*parts), Index(*parts[1:]).read, limit=9, max_characters=3_000)
    assert found == candidates(*parts)


@pytest.mark.parametrize("characters", [[0, 10], [5, 5], [10, 0], [-9, 9], None])
async def test_places_that_a_caller_gave_all_passages_lose_no_text(characters: Any) -> None:
    parts = passages_of(ARTICLE)
    parts = [replace(part, metadata={**part.metadata, "characters": characters}) for part in parts]
    found = await with_whole_sections(candidates(parts[2], parts[1]), Index(*parts).read, limit=2, max_characters=3_000)
    assert found == candidates(parts[2], parts[1])


async def test_sections_of_other_documents_and_versions_are_not_mixed() -> None:
    parts = passages_of(ARTICLE)
    others = [replace(part, id=f"o{part.position}", document_id="other", text=part.text.upper()) for part in parts]
    found = await with_whole_sections(
        candidates(parts[0], others[0]), Index(*parts, *others).read, limit=9, max_characters=3_000
    )
    assert [candidate.passage.text for candidate in found] == [ARTICLE, ARTICLE.upper()]


TABLE = "| usluga | cijena |\n| - | - |\n" + "\n".join(f"| usluga {n} | {n} eura |" for n in range(30))


@pytest.mark.parametrize(
    "text",
    [
        f"# Cjenik\n\n{TABLE}",
        f"# Cjenik\n\nCijene su bez poreza i vrijede od prvog siječnja.\n\n{TABLE}\n\nStari cjenik:\n\n{TABLE}",
        f"{TABLE}\n\nCijene su bez poreza.",
    ],
)
def test_the_parts_of_a_table_have_its_header_once(text: str) -> None:
    parts = passages_of(text, tokens=60, overlap=0)
    assert len(parts) > 2
    section = section_of(parts[0])
    assert section is not None
    whole = joined(section, parts)
    assert whole is not None
    assert whole.text == text


@pytest.mark.parametrize(
    "value", [None, "1-2", [1], [1, 2, 3], ["a", "b"], [True, 3], [1, 1], [5, 9], [0, MAX_PARTS + 1]]
)
def test_a_callers_own_value_is_no_section(value: Any) -> None:
    assert section_of(replace(passages_of(ARTICLE)[1], metadata={"section": value})) is None
