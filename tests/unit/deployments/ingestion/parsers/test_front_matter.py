from __future__ import annotations

import json
import time

import pytest

from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsers import front_matter
from deployments.ingestion.parsers.front_matter import FrontMatter

IN_TIME_S = IngestionConfig().parse_timeout_s


def read(*lines: str, mark: str = "---") -> FrontMatter:
    text = "\n".join([mark, *lines, mark, "Voda."])
    found = front_matter.read(text)
    assert found is not None
    assert text[found.end :] == "Voda."
    json.dumps(dict(found.fields), allow_nan=False).encode()
    return found


def test_fields_in_yaml_keep_their_types_and_dates_become_text() -> None:
    found = read(
        "title: Pravilnik",
        "year: 2019",
        "weight: 1.5",
        "draft: false",
        "editor: null",
        "tags: [voda, struja]",
        "date: 2025-01-31",
        "at: 2026-03-29T02:30:00+02:00",
        "author: {name: Ana, roles: [a, b]}",
        "3: tri",
    )
    assert found.fields == {
        "title": "Pravilnik",
        "year": 2019,
        "weight": 1.5,
        "draft": False,
        "editor": None,
        "tags": ["voda", "struja"],
        "date": "2025-01-31",
        "at": "2026-03-29T02:30:00+02:00",
        "author": {"name": "Ana", "roles": ["a", "b"]},
        "3": "tri",
    }
    assert (found.title, found.left_out) == ("Pravilnik", 0)


def test_fields_in_toml() -> None:
    found = read('title = "Pravilnik"', "date = 2025-01-31", "at = 08:30:00", "[author]", 'name = "Ana"', mark="+++")
    assert found == FrontMatter(
        "Pravilnik",
        {"title": "Pravilnik", "date": "2025-01-31", "at": "08:30:00", "author": {"name": "Ana"}},
        0,
        found.end,
    )


def test_text_of_fields_is_cleaned_as_text_is() -> None:
    found = read("\ufeffgrad: S\u030cibenik\u200b", "na\u00adslov: '  O\n  vodi '")
    assert found.fields == {"grad": "Šibenik", "naslov": "O vodi"}
    assert found.title == "O vodi"


@pytest.mark.parametrize(
    ("line", "title"),
    [("Title: O vodi", "O vodi"), ("naslov: O vodi", "O vodi"), ("title: 1984", "1984"), ("title: [a]", "")],
)
def test_the_title(line: str, title: str) -> None:
    assert read(line).title == title


@pytest.mark.parametrize(
    "value",
    [
        ".nan",
        ".inf",
        str(2**63),
        "!!binary aGVq",
        "!!set {a, b}",
        "[[[[[[a]]]]]]",
        "{a: {b: {c: {d: {e: {f: g}}}}}}",
        '{"a\\nb": c}',
    ],
)
def test_what_metadata_cannot_hold_is_left_out_and_counted(value: str) -> None:
    found = read(f"bad: {value}", "year: 2019")
    assert (found.fields, found.left_out) == ({"year": 2019}, 1)


@pytest.mark.parametrize("key", ["''", "' '", "k" * 257, '"a\\nb"', '"a\\tb"'])
def test_a_key_that_metadata_cannot_have_is_left_out_and_counted(key: str) -> None:
    found = read(f"{key}: a", "year: 2019")
    assert (found.fields, found.left_out) == ({"year": 2019}, 1)


def test_a_few_references_are_followed() -> None:
    assert read("base: &b {city: Split}", "place: *b").fields["place"] == {"city": "Split"}


def test_what_yaml_1_1_changes_stays_as_it_was_written() -> None:
    found = read("at: 12:30", "no: Norveška", "draft: off", "0123: 0123", "null: 0o17", "day: 2024-02-30", "x: 0x1F")
    assert found.fields == {
        "at": "12:30",
        "no": "Norveška",
        "draft": "off",
        "0123": "0123",
        "null": 15,
        "day": "2024-02-30",
        "x": 31,
    }
    assert read("a: 1e3", "b: -.5", "c: ~", "d:", "e: 1_000", "f: TRUE").fields == {
        "a": 1000.0,
        "b": -0.5,
        "c": None,
        "d": None,
        "e": "1_000",
        "f": True,
    }


def test_references_do_not_make_more_of_a_block_than_it_may_hold() -> None:
    found = read(f"a: &a {'x' * 30_000}", "b: [*a, *a, *a]", "c: [*a]", "year: 2019")
    assert found.left_out == 1
    assert [*found.fields] == ["a", "c", "year"]


def _bomb(first: str, levels: int, following: str) -> list[str]:
    """Each line refers to the line before as often as `following` does."""
    lines = (f"a{level}: &a{level} {following.format(f'*a{level - 1}')}" for level in range(1, levels))
    return [f"a0: &a0 {first}", *lines]


@pytest.mark.parametrize(
    "lines",
    [
        _bomb("[lol]", 9, "[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]"),
        _bomb("{x: 1}", 40, "{{<<: [{0}, {0}]}}"),
        ["a: &a [*a]"],
        ["a: " + "[" * 30_000],
        ["a: " + "{b: " * 10_000],
        ["a: " + "1:" * 20_000 + "1.5"],
        ["a: " + "9" * 60_000],
        ["? " * 20_000],
        ["- " * 20_000],
        [f"k{number}: v" for number in range(7_000)],
        ["a: !!python/object/apply:os.system ['true']"],
        ["a: !!int ''"],
        ["a: !!timestamp x"],
        ["a: !!bool x"],
    ],
    ids=lambda lines: lines[0][:20],
)
def test_a_hostile_block_costs_little(lines: list[str]) -> None:
    begin = time.monotonic()
    found = front_matter.read("\n".join(["---", *lines, "---", "Voda."]))
    assert time.monotonic() - begin < IN_TIME_S
    assert found is None or len(json.dumps(dict(found.fields))) < 200_000


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nTekst bez polja.\n\n---\n\nKraj.",
        "---\na: [\n---\nKraj.",
        "---\ntitle: x\n\nBez kraja.",
        "a\n\n---\nb: c\n---",
        "---\n---\nKraj.",
        "---\n- a\n---\nKraj.",
        "----\na: b\n----\nKraj.",
        "---\na: {b: 1}\nc: {<<: {d: 2}}\n---\nKraj.",
        "---\na: &a {b: 1}\n<<: [*a, *a]\n---\nKraj.",
        "---\nyear: 2019\na: " + "[" * 33 + "]" * 33 + "\n---\nKraj.",
        "---\nVažno: rok za žalbu je osam dana\nod primitka rješenja.\n---\nKraj.",
        "---\nVažno: rok je danas.\n---\nKraj.",
        "---\nVažno: rok je danas.\n\nNapomena: uredi rade do podneva.\n---\nKraj.",
        "---\nVažno: rok je danas.\nNapomena: uredi rade do podneva!\n---\nKraj.",
        "---\nUvod: ovo je izvješće o radu\n\nPrilog: dug\n\n---\nKraj.",
        "+++\na: b\n+++\nKraj.",
        "+++\na = 1\n---\nKraj.",
        f"---\na: {'b' * 65_536}\n---\nKraj.",
    ],
)
def test_what_only_looks_like_front_matter_is_none(text: str) -> None:
    assert front_matter.read(text) is None


@pytest.mark.parametrize("line", ["description: Rok za žalbu je osam dana.", "odjel: Pravna služba", "a: [b, c, d, e]"])
def test_a_field_alone_that_is_no_sentence_is_front_matter(line: str) -> None:
    assert len(read(line).fields) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["odjel: Pravna služba Grada Splita", "ured: Ured gradonačelnika Grada Splita"],
        ["opis: Kratak i jasan.", "napomena: Samo za interne potrebe ureda."],
        ["author: Ana Anić", "", "napomena: Samo za interne potrebe ureda."],
        ["napomena: Samo za interne potrebe ureda.", "", "godina: 2019"],
        ["odjel: nabava", "", "ured: Split"],
        ["oznaka: x", "napomena: |", "  Prvi redak je ovdje.", "", "  Drugi je ovdje."],
    ],
)
def test_several_fields_that_are_no_prose_are_front_matter(lines: list[str]) -> None:
    assert len(read(*lines).fields) == 2


def test_a_block_of_the_deepest_nesting_is_read() -> None:
    assert read("year: 2019", "a: " + "[" * 31 + "]" * 31).fields == {"year": 2019}


def test_a_block_of_the_largest_size_is_read() -> None:
    value = "b" * (65_536 - len("a: \n"))
    assert read(f"a: {value}").fields == {"a": value}
