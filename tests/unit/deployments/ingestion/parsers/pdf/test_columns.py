"""Columns are read one after the other, whatever the order in which they were drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, column, make_pages, row, turned

Case = Callable[[str], bytes]
LEFT = [
    "Naknada za prvi razred iznosi pet eura po",
    "učenikovu mjesečnom obroku, a roditelji je",
    "plaćaju do desetog u mjesecu na račun škole",
]
RIGHT = [
    "u banci, osim ako je dijete oslobođeno od",
    "plaćanja rješenjem centra za socijalnu skrb",
    "ili odlukom gradonačelnika o potpori obitelji.",
]
WHOLE = " ".join((*LEFT, *RIGHT))
CASE = (
    "Naknada za prvi razred iznosi pet eura po ucenikovu mjesecnom obroku, a roditelji je placaju do desetog u mjesecu "
    "na racun skole u banci, osim ako je dijete oslobodjeno od placanja rjesenjem centra za socijalnu skrb.\n\n"
    "Drugi stupac govori o prijevozu djece koji osigurava grad za sve koji stanuju dalje od tri kilometra od skolske "
    "zgrade, a izvan toga djeca putuju redovitim gradskim autobusima uz iskaznicu koju izdaje skolsko tajnistvo."
)


def test_a_head_across_the_page_does_not_cut_the_lines_of_columns(case: Case, limits: Limits) -> None:
    text = parse_pdf(case("pdf-column-under-running-head.pdf"), limits).text
    assert text == f"PETAK, 29. KOLOVOZA 2025. SLUZBENI LIST OPCINE BROJ 116 - STRANICA 155\n\n{CASE}"


def test_columns_are_read_from_the_left_one_on(case: Case, limits: Limits) -> None:
    assert parse_pdf(case("pdf-columns-drawn-right-first.pdf"), limits).text == CASE


def test_columns_that_are_drawn_across_are_read_one_by_one(font: Path, limits: Limits) -> None:
    across = [item for n in range(3) for item in row(100 + 14 * n, (60, LEFT[n]), (320, RIGHT[n]))]
    assert parse_pdf(make_pages([across], font), limits).text == WHOLE


def test_columns_whose_lines_are_at_other_heights(font: Path, limits: Limits) -> None:
    page = [*column(320, 105, RIGHT), *column(60, 100, LEFT)]
    assert parse_pdf(make_pages([page], font), limits).text == WHOLE


def test_a_heading_in_one_column_close_to_a_line_of_the_other(font: Path, limits: Limits) -> None:
    gutter = 320 - 12  # where the left column's long lines end
    left = [(LEFT * 2)[n % 3] for n in range(5)]
    page = [At(gutter - 5.5 * len(line), 100 + 14 * n, line) for n, line in enumerate(left)]
    page += [*column(320, 93, RIGHT[:2]), At(320, 142, "Prijevoz", 16.0), *column(320, 160, RIGHT)]
    text = parse_pdf(make_pages([page], font), limits).text
    assert text.split("\n\n")[-2:] == ["# Prijevoz", " ".join(RIGHT)]
    assert text.split("\n\n")[0] == " ".join((*left, *RIGHT[:2]))


def test_three_columns(font: Path, limits: Limits) -> None:
    parts = [[line[21 * k : 21 * k + 20] for line in (*LEFT, *RIGHT)] for k in range(1)]
    del parts
    texts = [
        ["Prvi stupac govori o", "naknadama koje grad", "daje svim obiteljima", "koje imaju djecu"],
        ["drugi o prijevozu za", "sve učenike koji idu", "u školu izvan grada", "i vraćaju se kući"],
        ["treći o obrocima koje", "škola kuha sama svim", "učenicima do osmog", "razreda bez naknade."],
    ]
    page = [
        item
        for x, text in zip((400, 60, 230), (texts[2], texts[0], texts[1]), strict=True)
        for item in column(x, 100, text)
    ]
    assert parse_pdf(make_pages([page], font), limits).text == " ".join(line for text in texts for line in text)


def test_a_heading_between_two_parts_in_columns(font: Path, limits: Limits) -> None:
    page = [
        *column(60, 100, LEFT),
        *column(320, 100, RIGHT),
        At(120, 170, "Drugi dio odluke vijeća o potporama", 18),
        *column(60, 210, LEFT),
        *column(320, 210, RIGHT),
    ]
    text = parse_pdf(make_pages([page], font), limits).text
    assert text == f"{WHOLE}\n\n# Drugi dio odluke vijeća o potporama\n\n{WHOLE}"


def test_a_sentence_goes_on_in_the_next_column_and_page(font: Path, limits: Limits) -> None:
    pages = [[*column(320, 80, LEFT[1:2] * 3), *column(60, 80, LEFT[:1] * 3)], column(60, 80, LEFT[2:] * 3)]
    text = parse_pdf(make_pages(pages, font), limits).text
    assert text == " ".join([*LEFT[:1] * 3, *LEFT[1:2] * 3, *LEFT[2:] * 3])


def test_a_page_number_below_columns_is_not_read_between_them(font: Path, limits: Limits) -> None:
    page = [*column(60, 100, LEFT), *column(320, 100, RIGHT), *row(800, (60, "Grad Primjer"), (500, "1/1"))]
    assert parse_pdf(make_pages([page], font), limits).text == f"{WHOLE}\n\nGrad Primjer 1/1"


def test_turned_pages_are_read_as_they_are_seen(font: Path, limits: Limits) -> None:
    sideways = [
        At(y, 842 - x, line.text, line.size, angle=90)
        for x, y, line in ((i.x, i.y, i) for i in [*column(320, 100, RIGHT), *column(60, 100, LEFT)])
    ]
    for data in (make_pages([sideways], font), turned(make_pages([sideways], font), 90)):
        assert parse_pdf(data, limits).text == WHOLE


def test_text_that_runs_otherwise_does_not_cut_the_page(font: Path, limits: Limits) -> None:
    page = [
        *column(60, 100, LEFT),
        At(40, 300, "Uz rub", angle=90),
        *column(60, 142, RIGHT),
        At(150, 400, "NACRT", 60, angle=45),
    ]
    text = parse_pdf(make_pages([page], font), limits).text
    assert text.split("\n\n")[0] == WHOLE
    assert {"Uz rub", "NACRT"} == {line.removeprefix("# ") for line in text.split("\n\n")[1:]}
