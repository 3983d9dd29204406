from __future__ import annotations

import random

import pytest

from deployments.errors import UnsupportedDocument
from deployments.ingestion.parsers.text import clean, decode, parse_text

CROATIAN = (
    "Žalba se podnosi u roku od petnaest dana od dana dostave rješenja. O žalbi odlučuje ministarstvo nadležno za "
    "elektroničke komunikacije, koje može žalbu odbiti, a rješenje poništiti ili ukinuti. Šteta se nadoknađuje."
)
NOISE = bytes(random.Random(3).choices(range(1, 256), k=2048))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1250", "iso8859_2"])
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


def test_clean_replaces_half_a_surrogate_pair() -> None:
    clean("a\ud835b").encode()


def test_articles_and_the_titles_above_them_get_headings() -> None:
    text = "Članak 1.\nPrvi. Pojmovi\nČlanak 2.\nDrugi."
    assert parse_text(text.encode()).text == "## Članak 1.\n\nPrvi.\n\n# Pojmovi\n\n## Članak 2.\n\nDrugi."


def test_headings_of_markdown_stay_as_they_are() -> None:
    text = "# Zakon\n\n## Članak 1.\n\nPrvi.\n\n### Napomena\n\n- stavka"
    assert parse_text(text.encode()).text == text
