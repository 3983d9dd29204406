"""Parent expansion: a passage of an article that was cut into several becomes the whole article, where that fits.

Passages are small so that they are found. An answer reads better from the whole article, and its sources name it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployments.types import Candidate, Passage

MAX_PARTS = 16
"""A section of more passages stays in parts."""
ReadSection = Callable[["Section"], Awaitable[Sequence[Passage]]]
"""The passages of a section, in order."""


@dataclass(frozen=True, slots=True)
class Section:
    """Several passages under the same headings: those from position `first` to `last` of a document's version."""

    document_id: str
    version: str
    first: int
    last: int


async def with_whole_sections(
    candidates: Sequence[Candidate], read: ReadSection, *, limit: int, max_characters: int
) -> list[Candidate]:
    """The first `limit` candidates, best first, with their sections in place of passages.

    A section stands where its best passage stood, under that one's id. One of over `max_characters` characters, or
    whose passages cannot be read whole, stays in parts. Raises what `read` raises.
    """
    sections = [section_of(candidate.passage) for candidate in candidates]
    # With sections in one piece there is room for later candidates, but seldom for more than as many again.
    wanted = list(dict.fromkeys(section for section in sections[: 2 * limit] if section is not None))
    found = await asyncio.gather(*map(read, wanted)) if wanted and max_characters else []
    texts = {
        section: whole
        for section, parts in zip(wanted, found, strict=False)
        if (whole := joined(section, parts)) is not None and len(whole.text) <= max_characters
    }
    chosen: list[Candidate] = []
    taken: set[Section] = set()
    for candidate, section in zip(candidates, sections, strict=True):
        if section is None or section not in texts:
            chosen.append(candidate)
        elif section not in taken:
            taken.add(section)
            chosen.append(replace(candidate, passage=_as_whole(candidate.passage, texts[section])))
        if len(chosen) == limit:
            break
    return chosen


def section_of(passage: Passage) -> Section | None:
    """The section that a passage is one of several of, as ingestion recorded it. None for any other passage."""
    positions = _two_numbers(passage.metadata.get("section"))
    if positions is None or not positions[0] <= passage.position <= positions[1] < positions[0] + MAX_PARTS:
        return None
    return Section(passage.document_id, passage.version, *positions)


def joined(section: Section, parts: Sequence[Passage]) -> Passage | None:
    """A section's passages as one. Text that two share is there once. None if parts are missing, or do not fit."""
    if [part.position for part in parts] != list(range(section.first, section.last + 1)):
        return None
    text, reached = "", 0
    for part in parts:
        characters = _two_numbers(part.metadata.get("characters"))
        if characters is None or characters[1] - characters[0] > len(part.text):
            return None
        start, end = characters
        if not text:
            text, reached, begin = part.text, end, start
            continue
        own = part.text[len(part.text) - (end - start) :]  # without a table's header, which is above it already
        gap = "" if start <= reached else "\n" if start == reached + 1 else "\n\n"
        text += gap + own[max(0, reached - start) :]
        reached = max(reached, end)
    whole = {"characters": [begin, reached]}
    return replace(parts[0], text=text, metadata={**parts[0].metadata, **whole})


def _as_whole(best: Passage, whole: Passage) -> Passage:
    places: Mapping[str, Any] = {key: whole.metadata[key] for key in ("characters", "page") if key in whole.metadata}
    return replace(best, position=whole.position, text=whole.text, metadata={**best.metadata, **places})


def _two_numbers(value: object) -> tuple[int, int] | None:
    """A caller's own value of the key may be anything."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(each) is int for each in value):
        return value[0], value[1]
    return None
