from __future__ import annotations

import random

import pytest

from deployments.errors import BrokenDocument, UnsupportedDocument
from deployments.ingestion.parsers.kinds import SUPPORTED, detect
from tests.support.documents import make_docx

PDF = b"%PDF-1.7\n..."
RANDOM = random.Random(1).randbytes(1024)


@pytest.mark.parametrize(
    ("data", "filename", "media_type", "kind"),
    [
        (b"# a", "a.md", "", "markdown"),
        (b"a", "A.TXT", "", "text"),
        (b"a", "", "text/plain; charset=utf-8", "text"),
        (b"<p>a", "a.htm", "application/octet-stream", "html"),
        (b"  <!DOCTYPE html><p>a", "page", "", "html"),
        (PDF, "a.pdf", "", "pdf"),
        (PDF, "download", "application/octet-stream", "pdf"),
        (b"about %PDF-", "a.md", "", "markdown"),
        (make_docx(["a"]), "a.docx", "", "docx"),
        (make_docx(["a"]), "", "", "docx"),
    ],
)
def test_kind_comes_from_content_then_name(data: bytes, filename: str, media_type: str, kind: str) -> None:
    assert detect(data, filename, media_type) == kind


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (RANDOM, "a.bin", r"\.bin"),
        (RANDOM, "a.pdf", "named as PDF but its content is not"),
        (b"a,b", "a.csv", r"\.csv"),
        (b"text", "README", "nothing that names it"),
        (make_docx(["a"]), "a.pdf", "named as PDF but its content is DOCX"),
        (PDF, "a.md", "named as Markdown but its content is PDF"),
        (b"\x89PNG\r\n", "a.txt", "PNG"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.doc", "old Office format"),
    ],
)
def test_unknown_or_contradicting_kinds_name_those_supported(data: bytes, filename: str, says: str) -> None:
    with pytest.raises(UnsupportedDocument, match=says) as raised:
        detect(data, filename, "")
    assert SUPPORTED in raised.value.message


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (b"", "a.txt", "empty"),
        (make_docx(["a"])[:-200], "a.docx", "damaged or cut-off"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.docx", "password"),
    ],
)
def test_broken_containers_say_how(data: bytes, filename: str, says: str) -> None:
    with pytest.raises(BrokenDocument, match=says):
        detect(data, filename, "")
