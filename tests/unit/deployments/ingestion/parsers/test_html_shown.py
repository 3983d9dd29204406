"""Of a page, what a reader sees or opens with a click is read. What is hidden, or stands elsewhere, is counted."""

from __future__ import annotations

import html
import time
from contextlib import suppress

import pytest

from deployments.errors import BrokenDocument
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers import parse
from deployments.ingestion.parsers.html import parse_html
from deployments.ingestion.parsers.limits import Limits

IN_TIME_S = IngestionConfig().parse_timeout_s / 10
LONG = "Prijava se podnosi pisano. " * 10


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>tajna dva tri</p>",
        "<div style='display:none'>tajna <b>dva</b><p>tri</p></div>",
        "<div STYLE='DISPLAY: NONE'>tajna dva tri</div>",
        "<dialog>tajna <span hidden>dva</span> tri</dialog>",
    ],
)
def test_hidden_words_are_counted(hidden: str) -> None:
    document = parse_html(f"<p>Vidi se.</p>{hidden}<script>var a = 1;</script><template>b</template>".encode())
    assert document.text == "Vidi se."
    assert warnings(document.left_out) == ("3 hidden words",)


def test_a_page_in_a_frame_is_read_if_it_is_there_and_counted_if_it_is_elsewhere() -> None:
    inner = html.escape("<body><p>Rok je osam dana.</p><iframe srcdoc='a'></iframe><iframe src=c></iframe></body>")
    page = f"<p>Vidi se.</p><iframe srcdoc='{inner}'></iframe><iframe src='https://primjer.hr'></iframe>"
    document = parse_html(f"{page}<iframe src=a width=1></iframe><iframe></iframe>".encode())
    assert document.text == "Vidi se.\n\nRok je osam dana."
    assert warnings(document.left_out) == ("3 pages in frames that were not read",)


def test_a_page_of_frames_only_is_refused_as_such(limits: Limits) -> None:
    page = b"<html><frameset cols='*'><frame src=a.html><noframes>Bez okvira.</noframes></frameset></html>"
    with pytest.raises(BrokenDocument, match="other pages in frames; send those"):
        parse(page, "a.html", "", limits)


@pytest.mark.parametrize("attribute", ["hidden", "style='display: none'"])
def test_a_panel_that_a_button_opens_is_read_with_its_button(attribute: str) -> None:
    page = f"<h2><button aria-controls=a>Kako se žaliti?</button></h2><div id=a {attribute}><p>Pisano.</p></div>"
    tabs = "<button role=tab aria-controls=b>Rokovi</button><div id=b hidden>Osam dana.</div>"
    menu = "<button aria-controls=c>Izbornik</button><div id=c hidden><a href=x>Početna</a></div><button>OK</button>"
    document = parse_html(f"{page}{tabs}{menu}".encode())
    assert document.text == "## Kako se žaliti?\n\nPisano.\n\nRokovi\n\nOsam dana."
    assert warnings(document.left_out) == ("1 hidden word",)


def test_a_button_may_open_several_panels() -> None:
    panels = "<div id=a hidden>Prvi.</div><div id=b hidden>Drugi.</div>"
    page = f"<button aria-controls='a b none'>Više</button>{panels}"
    assert parse_html(page.encode()).text == "Više\n\nPrvi.\n\nDrugi."


@pytest.mark.parametrize("heading", ["<button><h3>Uvjeti</h3></button>", "<h3><button>Uvjeti</button></h3>"])
def test_a_heading_that_is_a_button_is_a_heading(heading: str) -> None:
    assert (
        parse_html(f"{heading}<p>Punoljetnost.</p><button>OK</button>".encode()).text == "### Uvjeti\n\nPunoljetnost."
    )


def test_a_heading_above_the_main_part_is_read_unless_the_title_says_it() -> None:
    page = f"<title>Grad Pula</title><h1>{{}}</h1><main><p>{LONG}</p></main>"
    assert parse_html(page.format("Natječaj").encode()).text == f"# Natječaj\n\n{LONG.strip()}"
    assert parse_html(page.format("Grad Pula").encode()).text == LONG.strip()


def test_pages_written_into_frames_are_bounded() -> None:
    document = parse_html(b"<p>Tekst.</p>" + b"<iframe srcdoc='a'></iframe>" * 103)
    assert document.text.count("a") == 100
    assert warnings(document.left_out) == ("3 pages in frames that were not read",)


def test_panels_are_bounded() -> None:
    one_each = "".join(f"<button aria-controls=p{n}>a</button><div id=p{n} hidden>b{n}.</div>" for n in range(1003))
    assert parse_html(one_each.encode()).text.count("b") == 1000
    of_one = f"<button aria-controls='{' '.join(f'p{n}' for n in range(13))}'>a</button>"
    panels = "".join(f"<div id=p{n} hidden>b{n}.</div>" for n in range(13))
    assert parse_html(f"{of_one}{panels}".encode()).text.count("b") == 10
    within = "".join(f"<button aria-controls=p{n}>a</button>" for n in range(30))
    within += "".join(f"<div id=p{n} hidden>" for n in range(30)) + LONG
    assert warnings(parse_html(f"<p>Tekst.</p>{within}".encode()).left_out)  # looked at ten times in all


@pytest.mark.parametrize(
    "page",
    [
        "x" + "<b>a" * 20_000,
        "<article>" + "<aside>a " * 5_000,
        "<h1>" + "<button>a" * 20_000,
        "".join(f"<button aria-controls='p{n} p0'>a</button>" for n in range(2_000))
        + "".join(f"<div id=p{n} hidden>b " for n in range(2_000)),
    ],
)
def test_elements_within_one_another_are_read_in_time(page: str, limits: Limits) -> None:
    begin = time.process_time()
    with suppress(BrokenDocument):  # nested too deeply
        parse(page.encode(), "a.html", "", limits)
    assert time.process_time() - begin < IN_TIME_S


def test_what_a_browser_s_search_opens_is_read() -> None:
    assert parse_html(b"<p>Tekst.</p><div hidden=until-found>Rok.</div>").text == "Tekst.\n\nRok."


@pytest.mark.parametrize("name", ["article", "main"])
def test_notes_within_the_text_are_read_and_those_around_it_are_not(name: str) -> None:
    note = "<aside><p>Napomena: besplatno.</p></aside><footer>Izvor: zakon.</footer>"
    others = "<aside><a href=x>Pročitajte i ovo</a></aside>"
    page = f"<body><{name}><p>{LONG}</p>{note}{others}</{name}><aside>Oglas</aside><footer>Prava</footer></body>"
    assert parse_html(page.encode()).text == f"{LONG.strip()}\n\nNapomena: besplatno.\n\nIzvor: zakon."


def test_a_long_list_of_links_within_the_text_is_read() -> None:
    laws = "".join(f"<li><a href='/zakon/{n}'>Zakon {n}</a></li>" for n in range(12))
    parts = "".join(f"<li><a href='#{n}'>dio {n}</a></li>" for n in range(12))
    languages = "".join(f"<li><a href='/{n}' hreflang=en>jezik {n}</a></li>" for n in range(12))
    page = f"<main><p>{LONG}</p><ul>{parts}</ul><ul>{languages}</ul><ul>{laws}</ul></main>"
    assert parse_html(page.encode()).text == f"{LONG.strip()}\n\n" + "\n".join(f"- Zakon {n}" for n in range(12))


def test_a_form_that_says_more_than_what_to_type_is_counted() -> None:
    search = "<form><label>Traži <input></label></form>"
    form = f"<form><p>Prijave se primaju do 1. ožujka u pisarnici grada.</p></form><p>{LONG}</p>"
    assert warnings(parse_html(f"{search}{form}".encode()).left_out) == ("1 form within a page",)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<b>r</b>edak", "redak"),
        ("pod<em>red</em>ak", "podredak"),
        ("<b>prvi</b> redak", "**prvi** redak"),
        ("(<b>prvi</b>) redak", "(**prvi**) redak"),
        ("<i><b>r</b></i>edak", "redak"),
    ],
)
def test_marks_do_not_cut_words(markup: str, text: str) -> None:
    assert parse_html(f"<p>{markup}</p>".encode()).text == text


def test_names_that_a_page_gives_to_texts_are_written_out() -> None:
    doctype = "<!DOCTYPE html [<!ENTITY grad \"Šibenik\"> <!ENTITY rok 'osam'>]>"
    page = f"<?xml version='1.0'?>{doctype}<html><body><p>&grad;, &rok; &mdash; &nema;</p></body></html>"
    assert parse_html(page.encode()).text == "Šibenik, osam — &nema;"


@pytest.mark.parametrize(
    ("declared", "actual", "text"),
    [
        ("iso-8859-1", "cp1252", "On said “no” – 5 €"),
        ("iso-8859-2", "cp1250", "Žalba šest đaka, „važi“"),
        ("iso-8859-2", "iso-8859-2", "Žalba šest đaka"),
        ("iso-2022-jp", "iso-2022-jp", "東京の天気"),
        ("utf-7", "utf-7", "Žalba šest đaka"),
    ],
)
def test_a_declared_encoding_is_taken_as_browsers_take_it(declared: str, actual: str, text: str) -> None:
    page = f'<meta charset="{declared}"><p>{text}</p>'.encode(actual)
    if actual == "utf-7":
        page = f'<meta charset="{declared}"><p>'.encode() + text.encode(actual) + b"</p>"
    assert parse_html(page).text == text
