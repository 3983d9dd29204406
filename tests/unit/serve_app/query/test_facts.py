from __future__ import annotations

import pytest

from deployments.types import Language
from serve_app.query.facts import Date, Facts


def facts(text: str, language: Language = "hr") -> Facts:
    return Facts.of(text, language)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("15 dana", "hr", {("15", "day")}),
        ("petnaest dana", "hr", {("15", "day")}),
        ("dvadeset pet radnih dana", "hr", {("25", "day")}),
        ("od 8 do 15 radnih dana", "hr", {("8", "day"), ("15", "day")}),
        ("fifteen (15) working days", "en", {("15", "day")}),
        ("500.000,00 eura", "hr", {("500000", "euro")}),
        ("€500,000", "en", {("500000", "euro")}),
        ("15 %", "hr", {("15", "percent")}),
        ("čl. 12. st. 3.", "hr", {("12", "article"), ("3", "paragraph")}),
        ("stavaka 1. i 2. ovoga članka", "hr", {("1", "paragraph"), ("2", "paragraph")}),
        ("Article 12, paragraph 3", "en", {("12", "article"), ("3", "paragraph")}),
        ("NN 93/14", "hr", {("93x14", "")}),
        ("u 2018. godini", "hr", {("2018", "")}),
        ("Što je s tim?", "hr", set()),
    ],
)
def test_numbers_have_one_form_and_what_they_count(
    text: str, language: Language, expected: set[tuple[str, str]]
) -> None:
    assert {(each.number, each.unit) for each in facts(text, language).quantities} == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("25. svibnja 2018. godine", "hr"),
        ("25.5.2018.", "hr"),
        ("2018-05-25", "hr"),
        ("25 May 2018", "en"),
        ("May 25, 2018", "en"),
    ],
)
def test_a_date_is_the_same_however_it_is_written(text: str, language: Language) -> None:
    assert facts(text, language).dates == (Date(25, 5, 2018),)


def test_a_date_without_its_year_is_part_of_one_with_it_and_not_the_other_way_round() -> None:
    whole, part = facts("25. svibnja 2018."), facts("25. svibnja")
    assert whole.hold(part.dates[0])
    assert not part.hold(whole.dates[0])


def test_a_number_is_held_with_its_unit_or_where_the_source_gives_none() -> None:
    stated = facts("500 eura").quantities[0]
    assert facts("kazna od 500 eura").hold(stated)
    assert facts("| kazna | 500 |").hold(stated)
    assert not facts("500 dana").hold(stated)
    assert facts("(3) Rok teče od dostave.").hold(facts("stavak 3.").quantities[0])


def test_counts_in_words_need_no_source() -> None:
    assert facts("Postoje tri uvjeta").to_check == ()
    assert len(facts("Rok je tri mjeseca").to_check) == 1
