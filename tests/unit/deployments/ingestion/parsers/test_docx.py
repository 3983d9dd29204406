from __future__ import annotations

import io
import zipfile

import pytest

from deployments.errors import BrokenDocument, DocumentTooLarge
from deployments.ingestion.parsers.docx import parse_docx
from tests.support.documents import make_docx


def test_headings_paragraphs_and_tables() -> None:
    data = make_docx(
        ["# Zakon o čemu", "## Uvod", "Žalba se podnosi.", "Članak 2.", "a_b"],
        title="Zakon & red",
        table=[["Rok", "Dana"], ["žalba", "15"]],
    )
    document = parse_docx(data, inflation=100)
    assert document.title == "Zakon & red"
    assert document.text == (
        "# Zakon o čemu\n\n## Uvod\n\nŽalba se podnosi.\n\n## Članak 2.\n\na_b\n\n"
        "| Rok | Dana |\n| --- | --- |\n| žalba | 15 |"
    )


def _replaced(data: bytes, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return buffer.getvalue()


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    bomb = _replaced(make_docx(["a"]), "word/document.xml", b" " * 20_000_000)
    with pytest.raises(DocumentTooLarge, match="100 times its own size"):
        parse_docx(bomb, inflation=100)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    bomb = _replaced(make_docx(["a"]), "word/document.xml", b" " * 20_000_000)
    lie = bomb.replace((20_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lie != bomb
    with pytest.raises(BrokenDocument):
        parse_docx(lie, inflation=100)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("word/document.xml", b"<w:document"),
        ("word/document.xml", b""),
        ("[Content_Types].xml", b"?"),
        ("word/styles.xml", b"\0\1"),
    ],
)
def test_damaged_parts_are_broken_documents(name: str, content: bytes) -> None:
    with pytest.raises(BrokenDocument, match="damaged"):
        parse_docx(_replaced(make_docx(["a"]), name, content), inflation=100)
