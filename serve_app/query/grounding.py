"""Holds each statement of an answer against the passages that it cites.

What it can tell and what it cannot: docs/decisions/0004-grounding.md.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from deployments.generation.sentences import split_sentences
from deployments.lexical import terms, words
from deployments.types import CitedSpan, Language, Passage, TextDelta
from serve_app.query.answer_events import Grounding, GroundingStatus
from serve_app.query.config import QueryConfig
from serve_app.query.facts import Facts
from serve_app.query.statements import Statement, StatementReader

HELD_TERMS = 0.6
"""The share of a statement's terms that one cited passage must hold. Paraphrases keep about three quarters."""
_PREFIX = 5
"""Letters by which words of one root are joined: "osigurati" and "osiguranje"."""
_VERBATIM = 0.8
"""From this share of common terms on, two sentences say the same, and differ by what denies it."""

_NEGATIONS: Mapping[Language, frozenset[str]] = {
    "hr": frozenset(
        re.findall(r"\w+", "ne nije nisu nisam nismo niste nema nemaju nikad nikada nitko nista niti bez nece")
    ),
    "en": frozenset(re.findall(r"\w+", "not no never none cannot nobody nothing neither nor without")),
}
_REFUSES = re.compile(
    r"\b(?:ne (?:sadrž|navod|spominj|odgovara|govor|daj|mogu odgovor|propisuj)\w*|nije naved\w*"
    r"|nema(?:ju)? (?:odgovor|podat|informacij)\w*"
    r"|(?:do|does)(?: not|n[’']t) (?:contain|mention|answer|say|state|provide|specify|address|include|hold)\w*"
    r"|(?:can(?:not|[’']t)|unable to) (?:answer|find)|no (?:answer|information|mention)"
    r"|not (?:mentioned|stated|specified|contained))",
    re.IGNORECASE,
)
_CONTRAST: Mapping[Language, re.Pattern[str]] = {
    "hr": re.compile(r"\b(?:ali|no|međutim|nego|iako)\b", re.IGNORECASE),
    "en": re.compile(r"\b(?:but|however|although|though|yet)\b", re.IGNORECASE),
}
_COURTESY = re.compile(
    r"\s*(?:pozdrav|dobar dan|dobro jutro|rado|naravno|nadam se|slobodno|hvala|hello|hi\b|sure|certainly|of course"
    r"|thanks?|i hope|let me know|feel free|i(?:['’]m| am) happy)\b",
    re.IGNORECASE,
)
_LIST_MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)]|[a-zčćđšž]\))\s+")
_HEADING = re.compile(r"\s*(?:#{1,6}\s|\*\*[^*]+\*\*:?\s*$)")


class CheckedPassage:
    """What a passage says, with its title and headings, as statements are compared with it."""

    def __init__(self, passage: Passage) -> None:
        """Blocks for a few milliseconds."""
        text = "\n".join([passage.title, *passage.headings, passage.text])
        self.language = passage.language
        self.facts = Facts.of(text, passage.language)
        self._terms = _terms(text, passage.language)
        self._sentences = [
            (_terms(sentence.text, passage.language), _denies(sentence.text, passage.language))
            for sentence in split_sentences(passage.text, passage.language)
        ]

    def held(self, stated: frozenset[str]) -> float:
        """The share of some terms that the passage holds, from 0 to 1."""
        return len(stated & self._terms) / len(stated) if stated else 1.0

    def contradicts(self, stated: frozenset[str], denies: bool) -> bool:
        """Whether the nearest sentence says nearly the same, and one of the two denies it."""
        if not stated or not self._sentences:
            return False
        held, common, says_not = max(
            (len(stated & own) / len(stated), len(stated & own) / max(len(own), 1), negated)
            for own, negated in self._sentences
        )
        return held >= _VERBATIM and says_not != denies and (denies or common >= _VERBATIM)


class AnswerCheck:
    """Judges an answer's statements in the order in which they end, and counts them.

    At most `max_checked_statements` and `max_checked_characters` of an answer are judged.
    """

    def __init__(self, passages: Sequence[Passage], question: str, language: Language, config: QueryConfig) -> None:
        self._passages = passages
        self._question = question
        self._language = language
        self._config = config
        self._checked: dict[int, CheckedPassage] = {}
        self._counts: Counter[GroundingStatus] = Counter()
        self._statements = self._characters = 0

    async def judge(self, statement: Statement) -> Literal["supported", "unsupported", "uncited"] | None:
        """None for what states nothing, and for what is not judged. Works in a thread, so the loop is not blocked."""
        self._statements += 1
        self._characters += len(statement.text)
        config = self._config
        if self._statements > config.max_checked_statements or self._characters > config.max_checked_characters:
            self._counts["unchecked"] += 1
            return None
        status = await asyncio.to_thread(self._judge, statement)
        if status is not None:
            self._counts[status] += 1
        return None if status == "unchecked" else status

    @property
    def grounding(self) -> Grounding:
        counts = self._counts
        judged = counts["supported"] + counts["unsupported"] + counts["uncited"]
        return Grounding(
            supported=counts["supported"],
            unsupported=counts["unsupported"],
            uncited=counts["uncited"],
            unchecked=counts["unchecked"],
            share=round(counts["supported"] / judged, 3) if judged else None,
        )

    @property
    def may_refuse(self) -> bool:
        return self._config.unsupported == "refuse"

    @property
    def is_refused(self) -> bool:
        share = self.grounding.share
        return self.may_refuse and share is not None and share < self._config.supported_from

    def _judge(self, statement: Statement) -> GroundingStatus | None:
        text = _LIST_MARK.sub("", statement.text, count=1)
        facts = Facts.of(text, self._language)
        if not self._is_claim(text, facts, is_cited=bool(statement.numbers)):
            return None
        if not statement.numbers:
            return "uncited"
        cited = [self._passage(number) for number in statement.numbers]
        if not all(any(passage.facts.hold(fact) for passage in cited) for fact in facts.to_check):
            return "unsupported"
        alike = [passage for passage in cited if passage.language == self._language]
        if not alike:
            # Words of two languages cannot be compared: only what has facts can be told.
            return "supported" if facts.to_check else "unchecked"
        stated = _terms(text, self._language)
        best = max(alike, key=lambda passage: passage.held(stated))
        if best.held(stated) < HELD_TERMS and len(alike) == len(cited):
            return "unsupported"
        return "unsupported" if best.contradicts(stated, _denies(text, self._language)) else "supported"

    def _is_claim(self, text: str, facts: Facts, *, is_cited: bool) -> bool:
        """Whether a text states something. Questions, headings, courtesies and "there is no answer" do not."""
        plain = text.rstrip(" *_\n\t")
        if plain.endswith("?") or _HEADING.match(text):
            return False
        asked = Facts.of(self._question, self._language)
        told = [fact for fact in facts.to_check if not asked.hold(fact)]
        if not told and _REFUSES.search(text) and not _CONTRAST[self._language].search(text):
            return False
        if is_cited:
            return bool(told or _terms(text, self._language))
        if plain.endswith(":") and not told:
            return False
        return bool(told) or (len(_terms(text, self._language)) > 1 and not _COURTESY.match(text))

    def _passage(self, number: int) -> CheckedPassage:
        if number not in self._checked:
            self._checked[number] = CheckedPassage(self._passages[number - 1])
        return self._checked[number]


class AnswerReader:
    """The statements of an answer: those that its engine marks itself, else those that are read from its text."""

    def __init__(self, passages: int, language: Language) -> None:
        self._reader = StatementReader(passages, language)
        self._is_quoted = False
        self._text = ""

    def feed(self, delta: TextDelta) -> Sequence[Statement]:
        if delta.citations is None:
            return self._reader.feed(delta.text)
        # An engine that says where its quotations stand says the rest itself: it states nothing.
        self._is_quoted = True
        self._text += delta.text
        return [self._quotation(span) for span in delta.citations]

    def end(self) -> Sequence[Statement]:
        return () if self._is_quoted else self._reader.end()

    def _quotation(self, span: CitedSpan) -> Statement:
        return Statement(span.start, span.end, self._text[span.start : span.end], (span.numbers,))


def _terms(text: str, language: Language) -> frozenset[str]:
    """The beginnings of a text's stems; numbers are left to `Facts`."""
    return frozenset(term[:_PREFIX] for term in terms(text, language) if not any(map(str.isdigit, term)))


def _denies(text: str, language: Language) -> bool:
    found = words(text, language)
    return any(word in _NEGATIONS[language] or word.endswith("n't") for word in found)
