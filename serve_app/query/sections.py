"""Parent expansion: where a section was cut into passages, an answer gets the whole section if it is short enough.

A section is the text under one heading, such as an article of a statute. Small passages are found more easily. An
answer is better from the whole section, and its sources name that once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from deployments.types import Candidate, Passage

MAX_PARTS = 16
"""A section of more passages is not read: they stay as they are."""
ReadSection = Callable[["Section"], Awaitable[Sequence[Passage]]]
"""The passages of a section, in order."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section that was cut into several passages: positions `first` to `last` of a version's passages, both
    included."""

    document_id: str
    version: str
    first: int
    last: int


async def with_whole_sections(
    candidates: Sequence[Candidate], read: ReadSection, *, limit: int, max_characters: int
) -> list[Candidate]:
    """The best `limit` candidates, best first, with whole sections in place of their passages.

    A section takes the rank and the id of its best passage. It stays in passages if it has over `max_characters`
    characters, or if `read` does not give all of its passages. Raises what `read` raises.
    """
    sections = [section_of(candidate.passage) for candidate in candidates]
    # Passages of one section become one, which lets in later candidates: so twice `limit` are looked at.
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
    """The section that a passage is a part of, as ingestion recorded it. None for a passage that is not a part of one,
    and for a section of over MAX_PARTS passages."""
    positions = _two_numbers(passage.metadata.get("section"))
    if positions is None:
        return None
    first, last = positions
    if first == last or not first <= passage.position <= last < first + MAX_PARTS:
        return None
    return Section(passage.document_id, passage.version, first, last)


def joined(section: Section, parts: Sequence[Passage]) -> Passage | None:
    """A section's passages as one; text that two of them share is there once.

    None if parts are missing, or if their `characters` are not the places of their texts: a caller may have set them.
    """
    if [part.position for part in parts] != list(range(section.first, section.last + 1)):
        return None
    text, begin, reached = "", 0, 0
    for part in parts:
        place = _two_numbers(part.metadata.get("characters"))
        if place is None or not 0 < place[1] - place[0] <= len(part.text):
            return None
        start, end = place
        header, own = _split_header(part.text, end - start)
        has_first_rows = bool(header) and (not text or start - reached >= len(header))
        if has_first_rows:  # the header is not in the text yet: its place is right above these rows
            start, own = start - len(header), part.text
        elif header not in text:  # later rows repeat a header that is in the text; another one is not of this table
            return None
        if not text:
            text, begin, reached = own, start, end
            continue
        gap = "" if start <= reached else "\n" if start == reached + 1 else "\n\n"
        text += gap + own[max(0, reached - start) :]
        reached = max(reached, end)
    return replace(parts[0], text=text, metadata={**parts[0].metadata, "characters": [begin, reached]})


def _split_header(text: str, own_characters: int) -> tuple[str, str]:
    """A part's text as the header that ingestion put above it, and its own characters in the document.

    The text of a table's part is the table's header and some of its rows. Other parts have no header.
    """
    return text[:-own_characters], text[-own_characters:]


def _as_whole(best: Passage, whole: Passage) -> Passage:
    """The whole section under the best passage's id."""
    location = {key: whole.metadata[key] for key in ("characters", "page") if key in whole.metadata}
    return replace(best, position=whole.position, text=whole.text, metadata={**best.metadata, **location})


def _two_numbers(value: object) -> tuple[int, int] | None:
    """The value if it is two integers, else None: a caller may have set the key to anything."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(each) is int for each in value):
        return value[0], value[1]
    return None
