from __future__ import annotations

import csv

import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.parsers.delimited import parse_delimited

TABLE = "| Ime | Iznos |\n| --- | --- |\n| Željka Šarić | 1,50 |\n| Đuro | 2,75 |"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1250", "iso8859_2"])
def test_croatian_in_every_encoding_with_decimal_commas(encoding: str) -> None:
    content = "Ime;Iznos\r\nŽeljka Šarić;1,50\r\nĐuro;2,75\r\n"
    assert parse_delimited(content.encode(encoding), 10_000).text == TABLE


@pytest.mark.parametrize(
    "content",
    [
        'Ime,Iznos\n"Željka Šarić","1,50"\nĐuro,"2,75"',
        "Ime\tIznos\nŽeljka Šarić\t1,50\n\nĐuro\t2,75\n",
        "Ime|Iznos\nŽeljka\u00a0Šarić|1,50\nĐuro|2,75\n",
        "sep=_\nIme_Iznos\nŽeljka Šarić_1,50\nĐuro_2,75\n",
        'Ime;Iznos\n"Željka\nŠarić";1,50\nĐuro;"2,75"\n',
    ],
)
def test_the_delimiter_is_found_or_taken_as_declared(content: str) -> None:
    assert parse_delimited(content.encode(), 10_000).text == TABLE


@pytest.mark.parametrize("named", ["", '"'])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_separator_line_that_names_no_delimiter_is_skipped(named: str, line_end: str) -> None:
    lines = [f"sep={named}", "Ime;Iznos", "Željka Šarić;1,50", "Đuro;2,75", ""]
    assert parse_delimited(line_end.join(lines).encode(), 10_000).text == TABLE


def test_rows_of_uneven_width_are_kept() -> None:
    assert parse_delimited(b"a,b\n1,2,3\n4\n", 10_000).text == (
        "| a | b |  |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n| 4 |  |  |"
    )


@pytest.mark.parametrize("title", ["Popis za 2025.", "Popis, 2025"])
def test_a_title_stands_above_the_table(title: str) -> None:
    content = f"{title}\n\nIme;Iznos;Od\nŽeljka;1,50;a\nĐuro;2,75;b\n"
    table = "| Ime | Iznos | Od |\n| --- | --- | --- |\n| Željka | 1,50 | a |\n| Đuro | 2,75 | b |"
    assert parse_delimited(content.encode(), 10_000).text == f"{title}\n\n{table}"


def test_lines_with_some_commas_are_no_table() -> None:
    lines = "Napomena\nprva, druga\ntreća\nčetvrta"
    assert parse_delimited(lines.encode(), 10_000).text == lines


def test_a_row_of_spaces_does_not_end_the_table() -> None:
    assert parse_delimited(b"a;b\n1;2\n ; \n3;4\n", 10_000).text == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"


def test_a_quote_left_open_is_named_with_its_line() -> None:
    rows = "".join(f"{n},tekst\n" for n in range(50_000))
    with pytest.raises(BrokenDocument, match=r"longer than 131,072 characters.*quotation mark"):
        parse_delimited(f'a,b\n1,"tekst\n{rows}'.encode(), 10_000_000)


@pytest.mark.parametrize(("separator_line", "line"), [("", 2), ("sep=,\n", 3)])
def test_an_error_names_the_line_of_the_file(separator_line: str, line: int) -> None:
    cell = "x" * (csv.field_size_limit() + 1)
    with pytest.raises(BrokenDocument, match=f"a cell at line {line} of the CSV"):
        parse_delimited(f"{separator_line}a,b\n1,{cell}\n".encode(), 10_000_000)


def test_the_text_limit_holds_while_reading() -> None:
    with pytest.raises(DocumentTooLarge, match="more than 1,000 characters"):
        parse_delimited(b"a,b\n" * 10_000, 1000)
