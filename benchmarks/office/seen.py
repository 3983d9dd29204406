"""What a person sees in a generated document, and the strict form of Office files."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

from tests.support.documents import make_zip


@dataclass(frozen=True, slots=True)
class Document:
    """`seen` is written by hand: all words and figures that a person sees, in any order.

    What runs beside the text is not in it: page numbers, menus of web pages, and comments of reviewers.
    """

    name: str
    filename: str
    data: bytes
    seen: str

    @property
    def kind(self) -> str:
        """The format: "docx"."""
        return self.filename.rpartition(".")[2]


def strict(data: bytes) -> bytes:
    """An Office file in ISO 29500's strict form, which Office saves as "Strict Open XML"."""
    kinds = ("wordprocessingml", "spreadsheetml", "presentationml", "drawingml", "officeDocument")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, content in members.items():
        for kind in kinds:
            transitional = f"http://schemas.openxmlformats.org/{kind}/2006/".encode()
            content = content.replace(transitional, f"http://purl.oclc.org/ooxml/{kind}/".encode())
        members[name] = content
    return make_zip(members)
