from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pypdfium2 as pdfium
import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf
from tests.support.documents import make_pdf, make_picture, write_font
from tests.support.pages import At, Picture, column, make_pages, turned

LONG = (
    "Žalba se podnosi u roku od 15 dana od dana dostave rješenja, a o njoj odlučuje ministarstvo nadležno za poslove."
)
LIMITS = Limits(text_characters=1_000_000, inflation=100, pages=100)
TWICE = f"{LONG} {LONG}"


def test_wrapped_lines_become_paragraphs_under_their_headings(font: Path) -> None:
    data = make_pdf(
        ["# Zakon o čemu", "> Žalba", "> Članak 5.", f"(1) {TWICE}", f"(2) {TWICE}", "• prvo", "• drugo"],
        font,
        title="Zakon o čemu",
    )
    document = parse_pdf(data, LIMITS)
    assert document.title == "Zakon o čemu"
    assert document.text == (
        f"# Zakon o čemu\n\n# Žalba\n\n## Članak 5.\n\n(1) {TWICE}\n\n(2) {TWICE}\n\n- prvo\n\n- drugo"
    )


def test_paragraphs_go_on_over_pages_and_running_heads_go(font: Path) -> None:
    paragraph = " ".join(f"{LONG[:-1]} broj {n}," for n in range(150)) + " kraj."
    document = parse_pdf(make_pdf([paragraph], font, running_head="Narodne novine, stranica"), LIMITS)
    assert document.text == paragraph


def test_pages_are_where_they_begin_in_the_text(font: Path) -> None:
    lines = [f"{''.join(chr(97 + (7 * n + k) % 26) for k in range(12))} rok {n} dana" for n in range(400)]
    articles = [line for n in range(40) for line in (f"> Članak {n}.", ", ".join(lines[10 * n : 10 * n + 10]) + ".")]
    data = make_pdf(articles, font, running_head="Narodne novine, stranica")
    document = parse_pdf(data, LIMITS)
    begins = {page: document.text[offset:].lstrip(" .,\n#") for offset, page in document.pages}
    assert document.pages[0] == (0, 1)
    with pdfium.PdfDocument(data) as pdf:
        assert [*begins] == [*range(1, len(pdf) + 1)]
        for number, page in enumerate(pdf, start=1):
            assert len(pdf) > 3
            _, first, *_ = page.get_textpage().get_text_range().splitlines()
            assert begins[number].startswith(first.strip().rstrip("\x02\ufffe"))


def test_pages_are_bounded(font: Path) -> None:
    with pytest.raises(DocumentTooLarge, match="more than 1 pages"):
        parse_pdf(make_pdf([TWICE] * 60, font), replace(LIMITS, pages=1))


def test_short_lines_stay_apart(font: Path) -> None:
    assert (
        parse_pdf(make_pdf(["Ivan Horvat", "Ilica 1", TWICE], font), LIMITS).text
        == f"Ivan Horvat\n\nIlica 1\n\n{TWICE}"
    )


def test_the_text_limit_holds_while_reading(font: Path) -> None:
    with pytest.raises(DocumentTooLarge, match="more than 100 characters"):
        parse_pdf(make_pdf([TWICE], font), replace(LIMITS, text_characters=100))


def test_a_password_is_named(font: Path) -> None:
    with pytest.raises(BrokenDocument, match="password"):
        parse_pdf(make_pdf([LONG], font, password="tajna"), LIMITS)


def test_pages_without_text_are_called_a_scan(font: Path) -> None:
    with pytest.raises(BrokenDocument, match="scan"):
        parse_pdf(make_pdf([], font), LIMITS)


def test_fonts_that_do_not_name_their_letters_are_refused(font: Path) -> None:
    readable = make_pdf([TWICE] * 3, font)
    unreadable = readable.replace(b"/ToUnicode", b"/ToNothing")
    assert unreadable != readable
    with pytest.raises(BrokenDocument, match="which letters"):
        parse_pdf(unreadable, LIMITS)


def test_fonts_with_codes_of_their_own_for_letters_are_refused_and_for_bullets_are_not(tmp_path: Path) -> None:
    private = [chr(0xE000 + number) for number in range(60)]
    font = write_font(tmp_path / "private.ttf", letters=[*private, *"0123456789 ", *"abcdefgh"])
    unreadable = [*column(60, 60, ["".join(private)] * 5), At(300, 800, "12")]
    with pytest.raises(BrokenDocument, match="which letters"):
        parse_pdf(make_pages([unreadable], font), LIMITS)
    bullets = parse_pdf(make_pages([column(60, 60, [f"{private[0]} abc def"] * 5)], font), LIMITS)
    assert bullets.text.count("abc def") == 5
    assert warnings(bullets.left_out) == ()


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%PDF-1.7\n" + bytes(range(256)) * 8])
def test_damage_is_named(data: bytes) -> None:
    with pytest.raises(BrokenDocument, match="damaged or cut off"):
        parse_pdf(data, LIMITS)


def test_a_cut_off_pdf_never_gives_less_text_in_silence(font: Path) -> None:
    whole = make_pdf([TWICE] * 60, font)
    with pytest.raises(BrokenDocument):
        parse_pdf(whole[: len(whole) // 2], LIMITS)


LINE = At(60, 60, "Rok za žalbu je petnaest dana.")


def test_pages_without_text_among_others_are_counted(font: Path) -> None:
    pages: list[list[At | Picture]] = [[LINE], [Picture(0, 0, 595, 842, make_picture())], []]
    assert warnings(parse_pdf(make_pages(pages, font), LIMITS).left_out) == ("2 pages without text",)


@pytest.mark.parametrize("degrees", [0, 90])
def test_pictures_without_text_are_counted_and_one_that_comes_again_counts_once(font: Path, degrees: int) -> None:
    head = Picture(400, 20, 100, 40, make_picture(shade=1))
    photo, icon = Picture(60, 200, 200, 200, make_picture(30)), Picture(60, 100, 20, 20, make_picture(shade=3))
    data = turned(make_pages([[head, LINE, photo, icon], [head, LINE]], font), degrees)
    assert warnings(parse_pdf(data, LIMITS).left_out) == ("2 pictures without text",)


def test_a_picture_with_its_text_over_it_is_no_loss(font: Path) -> None:
    scan = Picture(0, 0, 595, 842, make_picture())
    recognised: list[At | Picture] = [scan, *column(60, 60, [LINE.text] * 5)]
    assert warnings(parse_pdf(make_pages([recognised], font), LIMITS).left_out) == ()


def test_pictures_of_a_page_are_bounded(font: Path) -> None:
    many = [Picture(60, 100, 40, 40, make_picture(10 + number)) for number in range(103)]
    assert warnings(parse_pdf(make_pages([[LINE, *many]], font), LIMITS).left_out) == ("100 pictures without text",)


def test_letters_that_a_font_does_not_name_are_counted(font: Path, tmp_path: Path) -> None:
    pages = make_pages([[LINE]], font)
    unreadable = make_pages([[At(60, 60, "abc")]], write_font(tmp_path / "other.ttf")).replace(
        b"/ToUnicode", b"/ToNothing"
    )
    with pdfium.PdfDocument(pages) as first, pdfium.PdfDocument(unreadable) as second:
        first.import_pages(second)
        buffer = io.BytesIO()
        first.save(buffer)
    assert warnings(parse_pdf(buffer.getvalue(), LIMITS).left_out) == (
        "1 page without text",
        "3 characters whose fonts do not say which letters they are",
    )
