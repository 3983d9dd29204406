from __future__ import annotations

import pytest

from deployments.ingestion import blocks as module
from deployments.ingestion.blocks import blocks, sections


def headings(text: str) -> list[tuple[str, ...]]:
    return [section.headings for section in sections(text)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("# Naslov", "Naslov"),
        ("###   Naslov  ## \t", "Naslov"),
        ("# C#", "C"),
        ("# a # #", "a #"),
        ("   # Naslov\r", "Naslov"),
        ("# a" + " " * 200_000 + "b", "a"),
        ("# " + "# " * 100_000, "# " * 498 + "# "),
    ],
)
def test_a_heading_by_its_line(line: str, name: str) -> None:
    [section] = sections(f"{line}\nTekst.")
    assert section.headings[0][:100].rstrip() == name[:100].rstrip()
    assert section.text[section.body :] == "Tekst."


@pytest.mark.parametrize("line", ["#Naslov", "    # Naslov", "a # Naslov", "####### Naslov", "\\# Naslov"])
def test_what_only_looks_like_a_heading(line: str) -> None:
    assert headings(f"{line}\nTekst.") == [()]


@pytest.mark.parametrize(
    "code",
    [
        "```\n# a\n```",
        "~~~ py\n# a\n```\n# b\n~~~~ ",
        "````\n```\n# a\n````",
        "```\n# a\n``` x\n# b\n```",
    ],
)
def test_headings_in_code_are_none_and_those_after_it_are(code: str) -> None:
    assert headings(f"{code}\n# Naslov\nTekst.") == [(), ("Naslov",)]


def test_code_within_a_line_opens_no_block_of_code() -> None:
    assert headings("```a``` je kod.\n# Naslov\nTekst.") == [(), ("Naslov",)]


def test_a_section_has_its_headings_and_where_its_text_begins() -> None:
    text = "\nUvod.\n# A\n\n## B\n\n  Tekst.\n### C\nJoš.\n## D\n"
    found = [(section.text, section.text[section.body :], section.headings) for section in sections(text)]
    assert found == [
        ("\nUvod.\n", "Uvod.\n", ()),
        ("# A\n\n## B\n\n  Tekst.\n", "  Tekst.\n", ("A", "B")),
        ("### C\nJoš.\n", "Još.\n", ("A", "B", "C")),
        ("## D\n", "", ("A", "D")),
    ]
    assert [section.start for section in sections(text)] == [0, 7, 27, 38]


def test_sections_are_bounded_and_the_last_has_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECTIONS", 3)
    text = "".join(f"# {number}\nTekst.\n" for number in range(9))
    assert "".join(section.text for section in sections(text)) == text
    assert headings(text) == [("0",), ("1",), ("2",)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| a |\n| - |\n| b |\nx", ["| a |\n| - |\n| b |\n"]),
        ("x\n  | a |\n  |:-:|\n", ["  | a |\n  |:-:|\n"]),
        ("| - |\n| - |\n| - |", ["| - |\n| - |\n| - |"]),
        ("| a |\n| - |\n\n| b |\n| - |", ["| a |\n| - |\n", "| b |\n| - |"]),
        ("| - |\n| a |", []),
        ("x\n| - |", []),
        ("| a |\n| - | b", []),
        ("```\n| a |\n| - |\n```\n| b |\n| - |", ["| b |\n| - |"]),
    ],
)
def test_tables(text: str, found: list[str]) -> None:
    parts = [*blocks(text, 0)]
    assert "".join(text[begin:end] for begin, end, _ in parts) == text
    assert [text[begin:end] for begin, end, is_table in parts if is_table] == found


def test_tables_of_a_section_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TABLES", 2)
    monkeypatch.setattr(module, "CHARACTERS_PER_TABLE", 40)
    text = "| a |\n| - |\nx\n" * 6
    assert [is_table for _, _, is_table in blocks(text, 0)] == [True, False] * 4
