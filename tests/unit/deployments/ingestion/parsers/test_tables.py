from __future__ import annotations

import pytest

from deployments.errors import DocumentTooLarge
from deployments.ingestion.parsers.tables import row, tables


def test_an_empty_row_begins_another_table() -> None:
    rows = [["a", "b"], ["1", "2"], ["", ""], ["c", "d"], ["3", ""]]
    assert [*tables(map(row, rows))] == ["| a | b |\n| --- | --- |\n| 1 | 2 |", "| c | d |\n| --- | --- |\n| 3 |  |"]


def test_empty_columns_go_and_a_single_one_is_lines() -> None:
    assert [*tables(map(row, [["", "a", "", "b"]]))] == ["| a | b |\n| --- | --- |"]
    assert [*tables(map(row, [["", "a"], ["", "b"]]))] == ["a\nb"]


@pytest.mark.parametrize(("rows", "lengths"), [(501, [502]), (502, [502, 3]), (1501, [502, 502, 502])])
def test_a_long_run_is_several_tables_with_its_header_each(rows: int, lengths: list[int]) -> None:
    made = [*tables(row([f"a{n}", f"b{n}"]) for n in range(rows))]
    assert [table.count("\n") + 1 for table in made] == lengths
    assert all(table.startswith("| a0 | b0 |\n| --- | --- |\n| a") for table in made)


def test_columns_are_bounded() -> None:
    assert [*tables([row(["x"] * 16_384)])]
    with pytest.raises(DocumentTooLarge, match="16,384 columns"):
        [*tables([row(["x"] * 16_385)])]
