"""Files within a document that Word shows as its text."""

from __future__ import annotations

import pytest

from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.docx import parse_docx
from tests.support.documents import make_docx, with_members

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def with_chunk(name: str, content: bytes | str, before: str = "Prije.") -> bytes:
    relations = f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="x" Type="{_R}/aFChunk" Target="{name}"/>'
    paragraph = f"<w:p><w:r><w:t>{before}</w:t></w:r></w:p>"
    body = f'{paragraph}<w:altChunk r:id="x"/><w:altChunk r:id="none"/>'
    return with_members(
        make_docx(["a"]),
        {
            "word/document.xml": f'<w:document xmlns:w="{_W}" xmlns:r="{_R}"><w:body>{body}</w:body></w:document>',
            "word/_rels/document.xml.rels": f"{relations}</Relationships>",
            f"word/{name}": content,
        },
    )


def parsed(data: bytes) -> ParsedDocument:
    return parse_docx(data, inflation=1000)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.html", "<html><body><h1>Rok</h1><p>Osam dana.</p></body></html>", "# Rok\n\nOsam dana."),
        ("a.docx", make_docx(["# Rok", "Osam dana."]), "# Rok\n\nOsam dana."),
        ("a.txt", "Osam dana.\nPisano.", "Osam dana.\n\nPisano."),
    ],
)
def test_a_chunk_is_read_in_its_place(name: str, content: bytes | str, text: str) -> None:
    document = parsed(with_chunk(name, content))
    assert document.text == f"Prije.\n\n{text}"
    assert warnings(document.left_out) == ("1 embedded object",)  # the chunk that is not there


@pytest.mark.parametrize(("name", "content"), [("a.rtf", "{\\rtf1 a}"), ("a.docx", "no docx"), ("a.bin", "\0")])
def test_a_chunk_that_is_not_read_is_counted(name: str, content: str) -> None:
    document = parsed(with_chunk(name, content))
    assert document.text == "Prije."
    assert warnings(document.left_out) == ("2 embedded objects",)


def test_documents_within_one_another_are_bounded() -> None:
    data = with_chunk("a.html", "<p>Dno.</p>", "0.")
    for number in range(1, 6):
        data = with_chunk("a.docx", data, f"{number}.")
    assert parsed(data).text == "5.\n\n4.\n\n3."


def test_chunks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.ingestion.parsers.docx_chunks._CHUNKS", 0)
    document = parsed(with_chunk("a.html", "<p>Osam dana.</p>"))
    assert document.text == "Prije."
    assert warnings(document.left_out) == ("2 embedded objects",)
