"""What kind of document some bytes are: by their content first, then by file name and media type."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath
from typing import Literal

from deployments.errors import BrokenDocument, UnsupportedDocument

Kind = Literal["markdown", "text", "html", "pdf", "docx"]

SUPPORTED = "Markdown (.md), plain text (.txt), HTML (.html), PDF (.pdf), Word (.docx)"

_NAMES: dict[Kind, str] = {"markdown": "Markdown", "text": "plain text", "html": "HTML", "pdf": "PDF", "docx": "DOCX"}
_EXTENSIONS: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
_MEDIA_TYPES: dict[str, Kind] = {
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/plain": "text",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
}
_OTHER_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", "RTF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def detect(data: bytes, filename: str, media_type: str) -> Kind:
    """Raises UnsupportedDocument for an unknown kind or one that contradicts its name, BrokenDocument for
    an empty, damaged or password-protected container."""
    if not data:
        raise BrokenDocument("the document is empty: it has no bytes")
    claimed = _claimed(filename, media_type)
    found = _by_content(data, claimed)
    kind = found or (claimed if claimed in ("markdown", "text", "html") else None)
    if kind is None:
        if claimed is not None:
            raise UnsupportedDocument(
                f"the document is named as {_NAMES[claimed]} but its content is not; supported are {SUPPORTED}"
            )
        what = PurePath(filename).suffix or media_type or "nothing that names it"
        raise UnsupportedDocument(f"the document's type ({what}) is not supported; supported are {SUPPORTED}")
    if claimed is not None and kind != claimed:
        raise UnsupportedDocument(
            f"the document is named as {_NAMES[claimed]} but its content is {_NAMES[kind]}; "
            f"name it for what it is; supported are {SUPPORTED}"
        )
    return kind


def _claimed(filename: str, media_type: str) -> Kind | None:
    by_name = _EXTENSIONS.get(PurePath(filename).suffix.lower())
    return by_name or _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower())


def _by_content(data: bytes, claimed: Kind | None) -> Kind | None:
    """The kind that the first bytes give away; None for text, which has no signature."""
    head = data[:1024].lstrip()
    # Readers accept a PDF's signature after some other bytes; a text that merely mentions it is no PDF.
    if head.startswith(b"%PDF-") or (claimed == "pdf" and b"%PDF-" in head):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _by_archive(data, claimed)
    if data.startswith(_OLE):
        if claimed == "docx":
            raise BrokenDocument("the DOCX is protected by a password; save it without one and send it again")
        raise UnsupportedDocument(
            f"the document is in an old Office format; save it as DOCX; supported are {SUPPORTED}"
        )
    for signature, name in _OTHER_SIGNATURES:
        if data.startswith(signature):
            raise UnsupportedDocument(f"the document's content is {name}; supported are {SUPPORTED}")
    if claimed is None and head.lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return None


def _by_archive(data: bytes, claimed: Kind | None) -> Kind | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        if claimed in (None, "docx"):
            raise BrokenDocument("the document is a damaged or cut-off DOCX (ZIP) file; send a whole copy") from None
        return None
    if any(name.startswith("word/document") and name.endswith(".xml") for name in names):
        return "docx"
    raise UnsupportedDocument(f"the document is a ZIP file but not a Word document; supported are {SUPPORTED}")
