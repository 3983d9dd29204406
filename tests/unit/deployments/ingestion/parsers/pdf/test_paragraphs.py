"""Lines become the paragraphs that a reader sees, in any script."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.pages import At, column, make_pages

Case = Callable[[str], bytes]
TURNED = str.maketrans("()", ")(")


def test_a_print_out_of_a_browser(case: Case, limits: Limits) -> None:
    text = parse_pdf(case("pdf-browser.pdf"), limits).text
    paragraphs = text.split("\n\n")
    assert "# Pravilnik o korištenju dvorane" in paragraphs
    assert (
        "Dvoranu smiju koristiti udruge s područja grada koje su prijavu predale do petnaestog u mjesecu i koje su "
        "podmirile naknadu za prethodno razdoblje. Prednost imaju udruge koje rade s djecom i mladima, a red se "
        "objavljuje na mrežnim stranicama grada."
    ) in paragraphs
    assert "Ključ se vraća isti dan." in paragraphs
    assert (
        "Oprema se ne iznosi iz dvorane bez pisanog odobrenja domara, koji o tome vodi popis i obavještava ured "
        "nadležan za imovinu."
    ) in paragraphs
    assert (
        "| Dan | Sati | Iznos |\n| --- | --- | --- |\n"
        "| Radni dan za udruge s područja grada i njihove goste | 2 | 10,00 |\n"
        "| Subota | 3 | 15,00 |\n| Nedjelja | 4 | 25,00 |"
    ) in paragraphs
    assert (
        "Naknada za korištenje uplaćuje se na račun grada najkasnije tri dana prije korištenja, a potvrda o uplati "
        "predočuje se domaru koji predaje ključ i upisuje vrijeme dolaska."
    ) in paragraphs
    assert (
        "את המפתח מחזירים באותו היום (עד 20:00), ומי שאינו מחזיר אותו משלם 15 אירו לכל יום של איחור "
        "לפי המחירון שפורסם באתר העירייה."
    ) in paragraphs
    assert text.count("Pravilnik o dvorani") == 1


def test_right_to_left_lines_are_read_from_the_right(font: Path, limits: Limits) -> None:
    lines = [
        "המפתח מוחזר באותו יום עד שעה 20 ומי שאינו",
        "מחזיר אותו משלם 15 אירו לכל יום איחור לפי",
        "מחירון Grad Zagreb שפורסם באתר.",
    ]
    shown = [seen(line) for line in lines]
    data = make_pages([[At(500 - 5.5 * len(line), 100 + 14 * n, line) for n, line in enumerate(shown)]], font)
    assert parse_pdf(data, limits).text == " ".join(lines)


def test_signs_after_latin_words_of_a_right_to_left_line_stay_with_them(font: Path, limits: Limits) -> None:
    # As a writer with text shaping draws it: each run from left to right, its signs beside it.
    y, end = 100.0, 400.0
    items: list[At] = []
    for text in ("המפתח מוחזר", " ", "(לפי", " ", "Grad Zagreb", ").", " ", "הם הולכים"):
        end -= 5.5 * len(text)
        items.append(At(end, y, text if text[0].isascii() and text[0].isalpha() else text[::-1].translate(TURNED)))
    text = parse_pdf(make_pages([[item for item in items if item.text.strip()]], font), limits).text
    assert text == "המפתח מוחזר (לפי Grad Zagreb). הם הולכים"


@pytest.mark.parametrize(
    "line", ["המפתח מוחזר באותו יום עד שעה 20 ומי שאינו מחזיר אותו משלם.", "הם הולכים (לפי Grad Zagreb), אל הים."]
)
def test_right_to_left_text_that_is_drawn_as_it_is_typed_is_read_so(font: Path, limits: Limits, line: str) -> None:
    # fpdf2 draws it so without text shaping.
    assert parse_pdf(make_pages([[At(60, 100, line), At(60, 130, "Grad Zagreb šalje.")]], font), limits).text == (
        f"{line}\n\nGrad Zagreb šalje."
    )


def test_right_to_left_columns_are_read_from_the_right(font: Path, limits: Limits) -> None:
    right = ["המפתח מוחזר באותו יום לפני שעה", "ומי שאינו מחזיר אותו בזמן משלם", "לעירייה קנס על כל יום של איחור"]
    left = ["לפי המחירון שפורסם באתר העירייה", "ועל לוח המודעות ליד המשרד עד לסוף", "השנה שבה התקבלה ההחלטה על הקנס."]
    page = [
        At(edge - 5.5 * len(line), 100 + 14 * n, seen(line))
        for edge, lines in ((280, left), (530, right))
        for n, line in enumerate(lines)
    ]
    assert parse_pdf(make_pages([page], font), limits).text == " ".join((*right, *left))


def seen(line: str) -> str:
    """A right-to-left line as its letters stand from left to right, with figures and Latin words as they are."""
    words = line.split()
    groups: list[list[str]] = []
    for word in words:
        if word[0].isascii() and groups and groups[-1][0][0].isascii():
            groups[-1].append(word)
        else:
            groups.append([word])
    return " ".join(" ".join(group) if group[0][0].isascii() else group[0][::-1] for group in reversed(groups))


@pytest.mark.parametrize(
    ("line", "following", "joined"),
    [
        ("Prijave zaprima Krapinsko-", "zagorska županija na obrascu.", "Krapinsko-zagorska županija"),
        ("Djelo je napisala Ivana Brlić-", "Mažuranić za djecu grada.", "Brlić-Mažuranić"),
        ("Potporu mogu dobiti sve obi-", "telji s djecom do deset godina.", "sve obitelji s djecom"),
        ("Potporu dobivaju drvo-", "i metaloprerađivači s područja.", "drvo- i metaloprerađivači"),
        ("Račun se predaje kao e-", "račun putem servisa države.", "e-račun putem"),
    ],
)
def test_hyphens_at_the_ends_of_lines(line: str, following: str, joined: str, font: Path, limits: Limits) -> None:
    assert joined in parse_pdf(make_pages([column(60, 100, [line, following])], font), limits).text


def test_a_compound_of_the_text_keeps_its_hyphen(font: Path, limits: Limits) -> None:
    lines = ["Spomen-ploča stoji na trgu, a obnovu spomen-", "ploče plaća grad iz proračuna za obnovu."]
    text = parse_pdf(make_pages([column(60, 100, lines)], font), limits).text
    assert text == "Spomen-ploča stoji na trgu, a obnovu spomen-ploče plaća grad iz proračuna za obnovu."


def test_a_note_comes_after_the_sentence_that_goes_on(font: Path, limits: Limits) -> None:
    first = column(
        60,
        640,
        ["Naknada za prvi razred iznosi pet eura po učenikovu", "mjesečnom obroku, a roditelji je plaćaju na račun1"],
    )
    second = column(60, 80, ["škole u banci do desetog u mjesecu.", "Drugi odlomak govori o prijevozu djece."])
    notes = [At(60, 780, "1 Račun otvara škola.", 8)]
    text = parse_pdf(make_pages([[*first, *notes], second], font), limits).text
    assert "na račun1 škole u banci" in text
    assert "1 Račun otvara škola." in text.split("\n\n")


def test_a_page_of_thousands_of_labels_is_read_in_time(font: Path, limits: Limits) -> None:
    labels = [At(20 + 7.31 * (n * 37 % 76), 20 + 0.16 * n, f"o{n}", 4) for n in range(5000)]
    began = time.monotonic()
    assert "o4999" in parse_pdf(make_pages([labels], font), limits).text
    assert time.monotonic() - began < 30
