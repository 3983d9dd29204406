from __future__ import annotations

import random
import time

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.text import clean, decode, parse_text, prose

IN_TIME_S = IngestionConfig().parse_timeout_s
CROATIAN = (
    "Žalba se podnosi u roku od petnaest dana od dana dostave rješenja. O žalbi odlučuje ministarstvo nadležno za "
    "elektroničke komunikacije, koje može žalbu odbiti, a rješenje poništiti ili ukinuti. Šteta se nadoknađuje."
)
NOISE = bytes(random.Random(3).choices(range(1, 256), k=2048))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1250", "iso8859_2", "cp852"]
)
def test_croatian_survives_every_supported_encoding(encoding: str) -> None:
    assert decode(CROATIAN.encode(encoding)) == CROATIAN


def test_utf16_with_a_big_endian_mark() -> None:
    assert decode(b"\xfe\xff" + CROATIAN.encode("utf-16-be")) == CROATIAN


@pytest.mark.parametrize(
    "data", [random.Random(2).randbytes(2048), NOISE, b"\xff\xfea", b"abc\0def", b"a\0\1\0" * 100, bytes(100)]
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedDocument):
        decode(data)


def test_clean_composes_letters_and_drops_what_cannot_be_seen() -> None:
    decomposed = "c\u030calopis"
    assert clean(f"\ufeff{decomposed}\u200b in\u00adfor\u00admacija\x07 \r\n\r\n\r\n\r\nkraj\u00a0dana ") == (
        "čalopis informacija\n\nkraj dana"
    )


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a \t\n\t b\t\t\n \nc  d ", "a\n\t b\n\nc  d"),
        ('![a](data:x!y!"z "t" )!', "a!"),
        ("![a](data:![b](data:x) c", "![a](data:b c"),
    ],
)
def test_clean_drops_spaces_at_ends_and_pictures_of_any_address(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_clean_replaces_half_a_surrogate_pair() -> None:
    clean("a\ud835b").encode()


def test_articles_and_the_titles_above_them_get_headings() -> None:
    text = "Članak 1.\nPrvi. Pojmovi\nČlanak 2.\nDrugi."
    assert parse_text(text.encode()).text == "## Članak 1.\n\nPrvi.\n\n# Pojmovi\n\n## Članak 2.\n\nDrugi."


def test_headings_of_markdown_stay_as_they_are() -> None:
    text = "# Zakon\n\n## Članak 1.\n\nPrvi.\n\n### Napomena\n\n- stavka"
    assert parse_text(text.encode()).text == text


def test_a_word_that_a_line_cuts_is_joined() -> None:
    text = "Ovo je tekst koji je rucno prelo-\nmljen na vise redaka."
    assert parse_text(text.encode()).text == "Ovo je tekst koji je rucno prelomljen na vise redaka."


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("grad Ivanić-\nGrad", "grad Ivanić-Grad"),
        ("hrvatsko-engleski i hrvatsko-\nengleski", "hrvatsko-engleski i hrvatsko-engleski"),
        ("drvo-\ni metaloprerada", "drvo-\ni metaloprerada"),
        ("- stavka\n- druga", "- stavka\n- druga"),
        ("od 5-\n10 dana", "od 5-\n10 dana"),
    ],
)
def test_a_hyphen_of_the_words_own_stays(text: str, joined: str) -> None:
    assert parse_text(text.encode()).text == joined


def test_a_soft_hyphen_before_a_line_break_joins_the_word() -> None:
    assert parse_text("po kori\xad\nsniku\xad\r\n usluge.\xad\n\nKraj".encode()).text == ("po korisnikuusluge.\n\nKraj")


@pytest.mark.parametrize("media", ["image/png;base64", "text/plain;charset=utf-8;base64", "image/svg+xml"])
def test_files_within_the_text_are_left_out(media: str) -> None:
    uri = f"data:{media},{'iVBORw0KGgo' * 6000}"
    assert clean(f"prije ![slika tvornice]({uri}) poslije") == "prije slika tvornice poslije"
    assert clean(f"prije <{uri}> poslije") == "prije <> poslije"
    assert clean("adresa data:image/png;base64,AAAA i dalje") == "adresa data:image/png;base64,AAAA i dalje"


TWO_WORDS = '<g id="a b"/>'
BASE64_LINES = "\n".join(["iVBORw0KGgoA" * 6] * 500)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f'prije <img src="data:image/png;base64,{BASE64_LINES}\nrKJggg=="> poslije', 'prije <img src=""> poslije'),
        (f"prije data:image/png;base64,{BASE64_LINES}\n\nposlije", "prije \n\nposlije"),
        (
            f"""prije url("data:image/svg+xml;utf8,<svg>{TWO_WORDS.replace('"', "'") * 900}</svg>") poslije""",
            'prije url("") poslije',
        ),
        (f"prije url('data:image/svg+xml,<svg>{TWO_WORDS * 900}</svg>') poslije", "prije url('') poslije"),
        (f"[1]: data:image/png;base64,{'iVBOR' * 9_000}\nposlije", "[1]: \nposlije"),
        (f"{'data:image/png;base64,' + 'A' * 60}\nRiječ\nposlije", "\nRiječ\nposlije"),
    ],
)
def test_files_within_the_text_have_many_forms(text: str, left: str) -> None:
    assert clean(text).split() == left.split()


WESTERN = {
    "fr": "La crème fraîche est à la carte et le garçon a préféré un café très sucré là où il est.",
    "de": "Die Straße ist für die Fußgänger gesperrt, und der Künstler hört mit großer Freude die schönen Lieder.",
    "es": "El niño comió una piña y la señora bebió café en la mañana; el año que viene es su cumpleaños.",
}


@pytest.mark.parametrize("language", WESTERN)
def test_western_languages_are_told_from_croatian(language: str) -> None:
    assert decode(WESTERN[language].encode("cp1252")) == WESTERN[language]


@pytest.mark.parametrize("text", ["Größe: 5 m², Länge 3 m", "À bientôt", "naïve café", "L'été à Orléans"])
def test_short_western_texts_are_told_by_letters_that_croatian_does_not_have(text: str) -> None:
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize("text", ["Kafić André", "Příklad č. 5: žádost", "Győr, Szűcs Éva", "Vijećnik José Čačić"])
def test_names_of_other_languages_do_not_make_a_text_western(text: str) -> None:
    assert decode(text.encode("cp1250")) == text


@pytest.mark.parametrize("encoding", ["cp1250", "cp852"])
def test_a_short_text_in_an_old_encoding(encoding: str) -> None:
    text = "Cjenik\r\nČistač,žica i šećer\r\nĐurđevac,više kuća\r\n"
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "text",
    [
        "pre-\nlom " * 300_000,
        "data: " + "![" * 500_000,
        "data:image/png," * 200_000,
        "'data:a/b,\"" * 200_000,
        "a" * 10**6 + "-\nb",
        "![a](data:" * 200_000,
        "Ime" + " " * 10**6 + "Prezime",
        "Ime" + "\t " * 500_000 + "\n" + "Prezime",
    ],
)
def test_long_texts_are_cleaned_in_time(text: str) -> None:
    begin = time.monotonic()
    parse_text(text.encode())
    assert time.monotonic() - begin < IN_TIME_S


def test_pictures_within_the_text_are_counted_unless_they_have_a_text() -> None:
    uri = f"data:image/png;base64,{'iVBORw0KGgo' * 60}"
    text = f"Tekst ![]({uri}) i ![ ]({uri}) i ![shema]({uri}) i ![](slika.png)"
    assert warnings(parse_text(text.encode()).left_out) == ("2 pictures without text",)
    assert warnings(parse_text(b"data: ![](slika.png)").left_out) == ()


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_hyphen_at_a_line_s_end_stays_in_code(fence: str) -> None:
    text = f"prelo-\nmljen\n\n{fence}\nprelo-\nmljen\n{fence}\n\nprelo-\nmljen"
    assert prose(text) == f"prelomljen\n\n{fence}\nprelo-\nmljen\n{fence}\n\nprelomljen"


def test_a_line_that_only_looks_like_a_fence_begins_no_code() -> None:
    assert prose("~~~~~~\nprelo-\nmljen\n\n```a``` je kod, prelo-\nmljen") == (
        "~~~~~~\nprelomljen\n\n```a``` je kod, prelomljen"
    )


@pytest.mark.parametrize("line", "─═")
def test_frames_of_old_programs_are_read(line: str) -> None:
    text = f"Račun za žene i đake\n┌{line * 4}┐\n│Šifra│"
    assert parse_text(text.encode("cp852")).text == text


@pytest.mark.parametrize("strange", [b"\x9alanka", b"\xe8lanka \x9e", b"\xc8"])
def test_a_text_in_utf8_keeps_its_letters_beside_some_other_bytes(strange: bytes) -> None:
    data = CROATIAN.encode() + b" " + strange + b" " + CROATIAN.encode()
    assert decode(data) == f"{CROATIAN} {strange.decode('cp1250')} {CROATIAN}"
