from __future__ import annotations

import random

import pytest

from deployments.errors import BrokenDocument, UnsupportedDocument
from deployments.ingestion.parsers.media_types import SUPPORTED, detect, extension_of, media_type_of
from tests.support.documents import make_docx, make_epub, make_pptx, make_xlsx, make_zip

PDF = b"%PDF-1.7\n..."
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
RANDOM = random.Random(1).randbytes(1024)


@pytest.mark.parametrize(
    ("data", "filename", "media_type", "kind"),
    [
        (b"# a", "a.md", "", "markdown"),
        (b"# a", "a.markdown", "", "markdown"),
        (b"a", "A.TXT", "", "text"),
        (b"a", "a.text", "", "text"),
        (b"<p>a", "a.xhtml", "", "html"),
        (b"a", "", "text/plain; charset=utf-8", "text"),
        (b"<p>a", "a.htm", "application/octet-stream", "html"),
        (b"  <!DOCTYPE html><p>a", "page", "", "html"),
        (PDF, "a.pdf", "", "pdf"),
        (PDF, "download", "application/octet-stream", "pdf"),
        (b"about %PDF-", "a.md", "", "markdown"),
        (make_docx(["a"]), "a.docx", "", "docx"),
        (make_docx(["a"]), "", "", "docx"),
        (make_pptx([("a", ["b"])]), "a.PPTX", "", "pptx"),
        (make_pptx([("a", ["b"])]), "a.pptm", "", "pptx"),
        (make_xlsx({"a": []}), "a.xlsx", "", "xlsx"),
        (make_xlsx({"a": []}), "a.xlsm", "", "xlsx"),
        (make_epub([]), "a", "application/epub+zip", "epub"),
        (make_epub([]), "", "", "epub"),
        (b"a;b", "a.csv", "", "csv"),
        (b"a\tb", "a.tsv", "", "csv"),
        (b"From: a", "a.eml", "", "email"),
        (b"From: a", "", "message/rfc822", "email"),
    ],
)
def test_kind_comes_from_content_then_name(data: bytes, filename: str, media_type: str, kind: str) -> None:
    assert detect(data, filename, media_type) == kind


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (RANDOM, "a.bin", r"\.bin"),
        (RANDOM, "a.pdf", "named as PDF but its content is not"),
        (b"{}", "a.json", r"\.json"),
        (b"text", "README", "nothing that names it"),
        (make_docx(["a"]), "a.pdf", "named as PDF but its content is DOCX"),
        (PDF, "a.md", "named as Markdown but its content is PDF"),
        (b"\x89PNG\r\n", "a.txt", "PNG"),
        (OLE, "a.doc", "old Office format"),
        (OLE + "WordDocument".encode("utf-16-le"), "a.doc", "save it as DOCX"),
        (OLE + "Workbook".encode("utf-16-le"), "a.xlsx", "save it as XLSX"),
        (OLE + "PowerPoint Document".encode("utf-16-le"), "a.ppt", "save it as PPTX"),
        (OLE + "__substg1.0_0037001F".encode("utf-16-le"), "a.msg", "save it as .eml"),
        (make_zip({"a.txt": "a"}), "a.zip", "ZIP file that is none"),
        (make_zip({"xl/workbook.bin": "a"}), "a.xlsb", "save it as XLSX"),
        (make_zip({"META-INF/manifest.xml": "a"}), "a.odt", "OpenDocument"),
        (make_xlsx({"a": []}), "a.csv", "named as CSV but its content is XLSX"),
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
        (make_xlsx({"a": []})[:-200], "a.xlsx", "damaged or cut-off XLSX"),
        (make_epub([])[:-100], "", "damaged or cut-off ZIP"),
        (OLE, "a.docx", "DOCX is protected by a password"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.pptx", "PPTX is protected by a password"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "", "document is protected by a password"),
    ],
)
def test_broken_containers_say_how(data: bytes, filename: str, says: str) -> None:
    with pytest.raises(BrokenDocument, match=says):
        detect(data, filename, "")


@pytest.mark.parametrize(
    ("filename", "media_type", "extension"),
    [
        ("A.HTM", "text/html", ".html"),
        ("a.tsv", "text/tab-separated-values", ".tsv"),
        ("a.xlsm", "application/vnd.ms-excel.sheet.macroenabled.12", ".xlsm"),
        ("a.markdown", "text/markdown", ".md"),
        ("a.exe", "", ""),
        ("README", "", ""),
    ],
)
def test_names_and_media_types_go_together(filename: str, media_type: str, extension: str) -> None:
    assert media_type_of(filename) == media_type
    assert extension_of(media_type) == extension
