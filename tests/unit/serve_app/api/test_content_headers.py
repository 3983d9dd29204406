from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest

from serve_app.api.content_headers import content_headers
from serve_app.platform.new_document import NewDocument

ZAKON = "Članak 1. Žalba.".encode()
SHA256 = "0" * 64
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
WINDOWS_1250 = "Članak 1. Žalba.".encode("cp1250")


def headers(data: bytes = b"a", *, id: str = "d", **fields: Any) -> dict[str, str]:
    columns: dict[str, Any] = {"content_hash": SHA256, "blob": "", "size": len(data)} | fields
    return content_headers(NewDocument(**columns), id, data)


def kind(data: bytes = b"a", **fields: Any) -> str:
    return headers(data, **fields)["Content-Type"]


def names(**fields: Any) -> tuple[str, str]:
    """The plain file name, and the one in Unicode or the plain one again."""
    disposition = headers(**fields)["Content-Disposition"]
    found = re.fullmatch(r"(?:attachment|inline); filename=\"([^\"\\]*)\"(?:; filename\*=UTF-8''(\S+))?", disposition)
    assert found is not None, disposition
    assert disposition.isascii()
    assert disposition.isprintable()
    return found[1], unquote(found[2], errors="strict") if found[2] else found[1]


@pytest.mark.parametrize(
    ("media_type", "filename", "expected"),
    [
        ("application/pdf", "a.pdf", "application/pdf"),
        ("Application/PDF; x=1", "", "application/pdf"),
        ("", "a.pdf", "application/pdf"),
        ("application/octet-stream", "a.docx", DOCX),
        ("text/html", "a.htm", "text/html"),
        ("text/html; charset=windows-1250", "a.htm", "text/html; charset=windows-1250"),
        ("", "a", "application/octet-stream"),
        ("nonsense", "a", "application/octet-stream"),
        ("text/html\r\nX-A: 1", "a", "application/octet-stream"),
        ("tekst/č", "a", "application/octet-stream"),
        ("text/", "a.md", "text/markdown; charset=utf-8"),
    ],
)
def test_the_type_is_the_document_s_or_what_its_name_says(media_type: str, filename: str, expected: str) -> None:
    assert kind(media_type=media_type, filename=filename) == expected


@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown", "text/csv", "text/tab-separated-values"])
def test_text_in_utf_8_says_so(media_type: str) -> None:
    assert kind(ZAKON, media_type=media_type) == f"{media_type}; charset=utf-8"
    assert kind(WINDOWS_1250, media_type=media_type) == media_type, "unknown is not told"


def test_a_charset_that_was_given_stays() -> None:
    assert kind(WINDOWS_1250, media_type='text/plain; charset="windows-1250"') == "text/plain; charset=windows-1250"
    assert kind(ZAKON, media_type="text/plain; charset=a b") == "text/plain; charset=utf-8"


def test_the_first_bytes_may_end_within_a_letter() -> None:
    assert kind(ZAKON[:1], size=len(ZAKON), media_type="text/plain") == "text/plain; charset=utf-8"
    assert kind(ZAKON[:1], media_type="text/plain") == "text/plain", "the document itself ends there"


def test_text_in_utf_16_is_not_taken_for_utf_8() -> None:
    assert kind("abc".encode("utf-16-be"), media_type="text/plain") == "text/plain"


@pytest.mark.parametrize(
    ("media_type", "disposition", "sandboxed"),
    [
        ("text/plain", "inline", True),
        ("text/markdown", "inline", True),
        ("application/pdf", "inline", False),
        ("text/html", "attachment", True),
        ("TEXT/HTML ;charset=utf-8", "attachment", True),
        ("application/xhtml+xml", "attachment", True),
        ("image/svg+xml", "attachment", True),
        ("text/xml", "attachment", True),
        ("message/rfc822", "attachment", True),
        ("application/epub+zip", "attachment", True),
        ("text/javascript", "attachment", True),
        ("", "attachment", True),
    ],
)
def test_only_what_cannot_act_is_shown_and_nothing_may_act(media_type: str, disposition: str, sandboxed: bool) -> None:
    sent = headers(media_type=media_type)
    assert sent["Content-Disposition"].split(";")[0] == disposition
    assert sent["X-Content-Type-Options"] == "nosniff"
    policy = sent["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert ("sandbox" in policy) is sandboxed


@pytest.mark.parametrize(
    ("filename", "plain", "named"),
    [
        ("zakon.pdf", "zakon.pdf", "zakon.pdf"),
        ("Zakon o radu (2026).pdf", "Zakon o radu (2026).pdf", "Zakon o radu (2026).pdf"),
        ("Žalba – članak đački.pdf", "Zalba _ clanak dacki.pdf", "Žalba – članak đački.pdf"),
        ("ČĆŠŽĐ čćšžđ.txt", "CCSZD ccszd.txt", "ČĆŠŽĐ čćšžđ.txt"),
        ("договор.txt", "_______.txt", "договор.txt"),
        ("a/b/jedan.md", "jedan.md", "jedan.md"),
        ("C:\\temp\\jedan.md", "jedan.md", "jedan.md"),
        ("../../etc/passwd", "passwd", "passwd"),
        (".htaccess", "htaccess", "htaccess"),
        ("..", "document", "document"),
        ("a\"b'c;d.txt", "a_b_c;d.txt", "a_b'c;d.txt"),
        ("a\r\nX-A: 1.txt", "a__X-A_ 1.txt", "a__X-A_ 1.txt"),
        ("50%41.txt", "50_41.txt", "50%41.txt"),
        ("fdp\u202e.exe", "fdp_.exe", "fdp_.exe"),
        ("＂／‥.txt", "__...txt", "＂／‥.txt"),
        ("a" * 252 + ".txt", "a" * 252 + ".txt", "a" * 252 + ".txt"),
        ("😀.txt", "_.txt", "😀.txt"),
    ],
)
def test_a_file_name_is_safe_and_keeps_its_letters(filename: str, plain: str, named: str) -> None:
    assert names(filename=filename) == (plain, named)


@pytest.mark.parametrize(
    ("id", "media_type", "named"),
    [
        ("nn-30-18", "text/markdown", "nn-30-18.md"),
        ("zakoni/nn-30-18", "text/markdown", "nn-30-18.md"),
        ("zakoni/nn-30-18.MD", "text/markdown", "nn-30-18.MD"),
        ("uri-1", "text/html; charset=utf-8", "uri-1.html"),
        ("žalba", "application/pdf", "žalba.pdf"),
        ("a", "", "a"),
        ("a/", "text/plain", "document.txt"),
    ],
)
def test_a_document_without_a_file_name_is_named_by_its_id(id: str, media_type: str, named: str) -> None:
    assert names(id=id, media_type=media_type)[1] == named


def test_what_was_kept_is_asked_for_again_and_by_nobody_in_between() -> None:
    sent = headers()
    assert (sent["ETag"], sent["Cache-Control"], sent["Accept-Ranges"]) == (
        f'"{"0" * 64}"',
        "private, no-cache",
        "bytes",
    )
