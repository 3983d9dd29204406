"""One page: its words in segments and bordered tables, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.ingestion.parsers.pdf.blocks import Block, Table
from deployments.ingestion.parsers.pdf.columns import reading_order
from deployments.ingestion.parsers.pdf.forms import read_fields
from deployments.ingestion.parsers.pdf.geometry import Box
from deployments.ingestion.parsers.pdf.grids import ruled_tables
from deployments.ingestion.parsers.pdf.notes import Notes, count_notes
from deployments.ingestion.parsers.pdf.paint import seen_words
from deployments.ingestion.parsers.pdf.pictures import Picture, read_pictures
from deployments.ingestion.parsers.pdf.rules import Rules, read_rules
from deployments.ingestion.parsers.pdf.segments import Segment, as_typed, segments
from deployments.ingestion.parsers.pdf.words import Word, read_words, turned


@dataclass(frozen=True, slots=True)
class PageLayout:
    """A page before its running lines are known. `turned` is what does not run the way that most of its text runs.

    Of its `characters`, fonts do not say which letters the `unknown_characters` are. They have codes of their own for
    the `private_characters`. `pictures` are those without text. `notes` and `hidden_words` are in none of them.
    """

    box: Box
    segments: list[Segment]
    tables: list[Table]
    rules: Rules
    turned: list[list[Segment]]
    pictures: list[Picture]
    notes: Notes
    characters: int
    unknown_characters: int
    private_characters: int
    hidden_words: int

    @property
    def has_text(self) -> bool:
        return bool(self.segments or self.tables or self.turned)

    def blocks(self, kept: Sequence[Segment]) -> Iterator[Block]:
        """The page's blocks as they are read: those of its tables and `kept` segments, and then its turned text."""
        yield from reading_order([*kept, *self.tables], self.rules, self.box)
        for group in self.turned:
            yield from reading_order(group, Rules(), self.box)


def read_page(page: Any, textpage: Any, form: Any, number: int) -> PageLayout:
    """The page's layout. `number` counts from 1."""
    found = read_words(textpage)
    seen, hidden = seen_words(page, found.by_turn)
    words = {turn: as_typed(group) for turn, group in seen.items()}
    main = max(words, key=lambda turn: len(words[turn]), default=0)
    upright: list[Word] = [*words.pop(main, ()), *read_fields(form, page, main)]
    rules = read_rules(page, main)
    tables, outside = ruled_tables(upright, rules, number)
    return PageLayout(
        box=turned(main, *page.get_bbox()),
        segments=segments(outside, number),
        tables=tables,
        rules=rules,
        turned=[segments(group, number) for _, group in sorted(words.items())],
        pictures=read_pictures(page, main, upright),
        notes=count_notes(page),
        characters=textpage.count_chars(),
        unknown_characters=found.unknown,
        private_characters=found.private,
        hidden_words=hidden,
    )
