"""A row of a table is one line, and no heading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, Stroke, column, grid, make_pages, row

Case = Callable[[str], bytes]
PROSE = [
    "Odluka o naknadama stupa na snagu osmoga dana od dana objave u glasniku",
    "grada, a primjenjuje se na sve učenike osnovnih škola kojima je grad osnivač.",
]


def test_rows_stay_rows(case: Case, limits: Limits) -> None:
    assert parse_pdf(case("pdf-table-rows.pdf"), limits).text == (
        "| Razred | Ucenika | Iznos |\n| --- | --- | --- |\n"
        "| Prvi | 21 | 100,00 |\n| Drugi | 22 | 200,00 |\n| Treci | 23 | 300,00 |"
    )


def test_text_around_a_table_is_no_part_of_it(font: Path, limits: Limits) -> None:
    page = [
        *column(60, 80, PROSE),
        *row(130, (60, "Vrsta"), (250, "Rok"), (400, "Iznos")),
        *row(146, (60, "Obrok"), (250, "do 10."), (412, "5,00")),
        *row(162, (60, "Prijevoz"), (400, "12,50")),
        *column(60, 200, PROSE),
    ]
    assert parse_pdf(make_pages([page], font), limits).text == (
        f"{' '.join(PROSE)}\n\n| Vrsta | Rok | Iznos |\n| --- | --- | --- |\n| Obrok | do 10. | 5,00 |\n"
        f"| Prijevoz |  | 12,50 |\n\n{' '.join(PROSE)}"
    )


def test_lines_of_a_cell_with_borders_are_one_cell(font: Path, limits: Limits) -> None:
    page: list[At | Stroke] = [
        *grid((60, 200, 260, 330), (100, 120, 155, 175)),
        *row(114, (64, "Vrsta naknade"), (204, "Rok"), (264, "Iznos")),
        *column(64, 134, ["Obrok u školi za", "učenike u produženom"]),
        *row(141, (204, "10."), (264, "5,00")),
        *row(169, (64, "Prijevoz"), (204, "15."), (264, "12,50")),
    ]
    assert parse_pdf(make_pages([page], font), limits).text == (
        "| Vrsta naknade | Rok | Iznos |\n| --- | --- | --- |\n"
        "| Obrok u školi za učenike u produženom | 10. | 5,00 |\n| Prijevoz | 15. | 12,50 |"
    )


def test_lines_of_a_cell_between_rules_are_one_cell(font: Path, limits: Limits) -> None:
    page: list[At | Stroke] = [
        *row(100, (60, "Vrsta"), (300, "Iznos")),
        Stroke(60, 105, 340, 105),
        *row(120, (60, "Obrok u školi za učenike"), (300, "5,00")),
        At(60, 134, "produženoga boravka"),
        Stroke(60, 139, 340, 139),
        *row(154, (60, "Prijevoz učenika"), (300, "12,50")),
        Stroke(60, 159, 340, 159),
        *row(174, (60, "Udžbenici"), (300, "80,00")),
    ]
    assert parse_pdf(make_pages([page], font), limits).text.split("\n")[2:] == [
        "| Obrok u školi za učenike produženoga boravka | 5,00 |",
        "| Prijevoz učenika | 12,50 |",
        "| Udžbenici | 80,00 |",
    ]


def test_a_cell_over_two_columns_keeps_its_words_together(font: Path, limits: Limits) -> None:
    page: list[At | Stroke] = [
        *(Stroke(60, y, 400, y) for y in (100, 120, 140, 160)),
        *(Stroke(x, 100, x, 160) for x in (60, 180, 400)),
        Stroke(290, 120, 290, 160),
        *row(114, (64, "Razred"), (240, "Iznosi u eurima")),
        *row(134, (64, "Prvi"), (184, "5,00"), (294, "6,00")),
        *row(154, (64, "Drugi"), (184, "7,00"), (294, "8,00")),
    ]
    lines = parse_pdf(make_pages([page], font), limits).text.split("\n")
    assert lines[0] == "| Razred | Iznosi u eurima |  |"
    assert lines[2:] == ["| Prvi | 5,00 | 6,00 |", "| Drugi | 7,00 | 8,00 |"]


def test_a_row_in_larger_type_is_no_heading(case: Case, limits: Limits) -> None:
    text = parse_pdf(case("pdf-table-row-as-heading.pdf"), limits).text
    assert "#" not in text
    assert "Administrativni tajnik 1 SVEUKUPNO 9" in text.split("\n")


def test_a_total_in_larger_type_is_no_heading(font: Path, limits: Limits) -> None:
    page = [
        *column(60, 80, PROSE, size=9, pitch=12),
        *row(120, (60, "Obrok"), (300, "5,00"), size=9),
        *row(132, (60, "Prijevoz"), (300, "12,50"), size=9),
        *row(150, (60, "UKUPNO"), (300, "17,50"), size=12),
        At(60, 190, "Ukupno s PDV-om 21,88 EUR", 12),
        *column(60, 230, PROSE, size=9, pitch=12),
    ]
    text = parse_pdf(make_pages([page], font), limits).text
    assert "#" not in text
    assert "| UKUPNO | 17,50 |" in text


def test_lists_are_no_tables(font: Path, limits: Limits) -> None:
    page = [
        item
        for n in range(4)
        for item in row(100 + 16 * n, (60, f"{n + 1}."), (84, f"Stavka popisa koja ima broj {n}"))
    ]
    assert parse_pdf(make_pages([page], font), limits).text == "\n\n".join(
        f"{n + 1}. Stavka popisa koja ima broj {n}" for n in range(4)
    )


def test_wide_spaces_of_justified_lines_are_no_columns(font: Path, limits: Limits) -> None:
    def justified(y: float, line: str) -> list[At]:
        words = line.split()
        space = (424 - 5.5 * sum(map(len, words))) / (len(words) - 1)
        starts = [60.0]
        for word in words:
            starts.append(starts[-1] + 5.5 * len(word) + space)
        return [At(x, y, word) for x, word in zip(starts, words, strict=False)]

    lines = [
        "Prijevoz učenika i nabava udžbenika, te prehrana učenika i",
        "sufinanciranje izvannastavnih, izvanškolskih, te kulturnih",
    ]
    page = [
        *column(60, 80, PROSE),
        *(item for n, line in enumerate(lines) for item in justified(108 + 14 * n, line)),
        *column(60, 136, PROSE),
    ]
    assert " ".join(lines) in parse_pdf(make_pages([page], font), limits).text


def cells_of(rows: list[tuple[float, list[str], list[str]]]) -> list[At | Stroke]:
    """Rows of two cells, each at a height, and each cell with lines of its own."""
    return [item for y, left, right in rows for item in (*column(60, y, left), *column(320, y, right))]


PROSE_ROWS: list[tuple[float, list[str], list[str]]] = [
    (
        100,
        ["Naknada se plaća do desetoga u", "mjesecu na račun škole u banci"],
        ["Rok je kraći jer škola plaća", "dobavljača do petnaestoga"],
    ),
    (150, ["Prijevoz je za sve učenike koji", "stanuju dalje od tri kilometra"], ["Udaljenost se mjeri cestom"]),
    (
        200,
        ["Oslobođena su djeca s rješenjem"],
        ["Rješenje donosi centar za", "socijalnu skrb na zahtjev", "roditelja ili skrbnika djeteta"],
    ),
]


def test_cells_of_several_lines_are_no_columns(font: Path, limits: Limits) -> None:
    rules = [Stroke(60, y, 560, y) for y in (130, 180)]
    for page in (cells_of(PROSE_ROWS), [*cells_of(PROSE_ROWS), *rules]):
        lines = parse_pdf(make_pages([page], font), limits).text.split("\n")
        assert [line for line in lines if "---" not in line] == [
            f"| {' '.join(left)} | {' '.join(right)} |" for _, left, right in PROSE_ROWS
        ]


def test_a_last_line_of_a_cell_stays_in_the_table(font: Path, limits: Limits) -> None:
    page = [
        *row(100, (60, "Vrsta"), (200, "Opis"), (400, "Iznos")),
        *row(120, (60, "Obrok"), (200, "za sve učenike škole"), (400, "5,00")),
        *row(140, (60, "Prijevoz"), (200, "za učenike koji stanuju"), (400, "12,50")),
        At(200, 153, "daleko"),
    ]
    assert parse_pdf(make_pages([page], font), limits).text.split("\n")[-1] == (
        "| Prijevoz | za učenike koji stanuju daleko | 12,50 |"
    )


def test_columns_of_right_to_left_tables_begin_at_the_right(font: Path, limits: Limits) -> None:
    page: list[At | Stroke] = [
        *grid((200, 300, 400), (100, 120, 140)),
        *row(114, (204, "כמות"[::-1]), (304, "שירות"[::-1])),
        *row(134, (204, "12"), (304, "מפתח"[::-1])),
    ]
    assert parse_pdf(make_pages([page], font), limits).text == "| שירות | כמות |\n| --- | --- |\n| מפתח | 12 |"


def test_totals_below_a_table_are_rows_of_their_own(font: Path, limits: Limits) -> None:
    page = [
        *row(100, (60, "1"), (100, "Obrok"), (300, "5,00")),
        *row(114, (60, "2"), (100, "Prijevoz"), (300, "12,50")),
        *row(128, (100, "Osnovica"), (300, "17,50")),
        *row(142, (100, "Porez"), (300, "4,38")),
    ]
    lines = parse_pdf(make_pages([page], font), limits).text.split("\n")
    assert lines[-2:] == ["|  | Osnovica | 17,50 |", "|  | Porez | 4,38 |"]
