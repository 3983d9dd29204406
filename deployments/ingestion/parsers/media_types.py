"""Detects a document's format: by its content first, then by file name and media type. Knows which go together."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePath
from typing import Literal

from deployments.errors import BrokenDocument, UnsupportedDocument

DocumentFormat = Literal["markdown", "text", "html", "csv", "email", "pdf", "docx", "pptx", "xlsx", "epub"]

SUPPORTED = (
    "Markdown (.md), plain text (.txt), HTML (.html), PDF (.pdf), Word (.docx), PowerPoint (.pptx), "
    "Excel (.xlsx, .xlsm), EPUB (.epub), CSV (.csv, .tsv), e-mail (.eml)"
)

_NAMES: dict[DocumentFormat, str] = {
    "markdown": "Markdown",
    "text": "plain text",
    "html": "HTML",
    "csv": "CSV",
    "email": "e-mail",
    "pdf": "PDF",
    "docx": "DOCX",
    "pptx": "PPTX",
    "xlsx": "XLSX",
    "epub": "EPUB",
}
_TEXTS: tuple[DocumentFormat, ...] = ("markdown", "text", "html", "csv", "email")
"""Formats without a signature: only their names tell them apart."""
_ARCHIVES: tuple[DocumentFormat, ...] = ("docx", "pptx", "xlsx", "epub")
_EXTENSIONS: dict[str, str] = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".eml": "message/rfc822",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".epub": "application/epub+zip",
}
"""Extension of a file name → media type. Of several extensions, the usual one comes first."""
_MEDIA_TYPES: dict[str, DocumentFormat] = {
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/plain": "text",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "message/rfc822": "email",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.ms-excel.sheet.macroenabled.12": "xlsx",
    "application/epub+zip": "epub",
}
_MEMBERS: tuple[tuple[re.Pattern[str], DocumentFormat], ...] = (
    (re.compile(r"word/document.*\.xml"), "docx"),
    (re.compile(r"ppt/presentation.*\.xml"), "pptx"),
    (re.compile(r"xl/workbook.*\.xml"), "xlsx"),
    (re.compile(r"META-INF/container\.xml"), "epub"),
)
"""A ZIP member that only this format has. OpenDocument files have none of them."""
_OTHER_MEMBERS = (
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb); save it as XLSX"),
    ("META-INF/manifest.xml", "an OpenDocument file; save it as DOCX, XLSX or PPTX"),
)
_OTHER_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", "RTF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage"
_OLE_STREAMS = (
    ("WordDocument", "an old Office format (.doc); save it as DOCX"),
    ("Workbook", "an old Office format (.xls); save it as XLSX"),
    ("PowerPoint Document", "an old Office format (.ppt); save it as PPTX"),
    ("__substg1.0_", "an Outlook message (.msg); save it as .eml"),
)


def detect(data: bytes, filename: str, media_type: str) -> DocumentFormat:
    """The document's format.

    Raises UnsupportedDocument for an unknown format or one that contradicts the name, BrokenDocument for an empty,
    damaged or password-protected document.
    """
    if not data:
        raise BrokenDocument("the document is empty: it has no bytes")
    claimed = _claimed(filename, media_type)
    found = _by_content(data, claimed)
    detected = found or (claimed if claimed in _TEXTS else None)
    if detected is None:
        if claimed is not None:
            raise UnsupportedDocument(
                f"the document is named as {_NAMES[claimed]} but its content is not; supported are {SUPPORTED}"
            )
        given_type = PurePath(filename).suffix or media_type or "nothing that names it"
        raise UnsupportedDocument(f"the document's type ({given_type}) is not supported; supported are {SUPPORTED}")
    if claimed is not None and detected != claimed:
        raise UnsupportedDocument(
            f"the document is named as {_NAMES[claimed]} but its content is {_NAMES[detected]}; "
            f"name it for what it is; supported are {SUPPORTED}"
        )
    return detected


def media_type_of(filename: str) -> str:
    """The media type that a file's name says; empty for a name that says none of those that are read."""
    return _EXTENSIONS.get(PurePath(filename).suffix.lower(), "")


def extension_of(media_type: str) -> str:
    """The usual extension of a file of a media type, such as `.pdf`; empty for a type that is not read."""
    return next((extension for extension, named in _EXTENSIONS.items() if named == media_type), "")


def _claimed(filename: str, media_type: str) -> DocumentFormat | None:
    """The format that the file name, or else the media type, says."""
    return _MEDIA_TYPES.get(media_type_of(filename) or media_type.partition(";")[0].strip().lower())


def _by_content(data: bytes, claimed: DocumentFormat | None) -> DocumentFormat | None:
    """The format by the first bytes; None for text, which has no signature. Raises like `detect`."""
    head = data[:1024].lstrip()
    # Programs accept a PDF whose signature comes after other bytes. But a text that only mentions it is no PDF.
    if head.startswith(b"%PDF-") or (claimed == "pdf" and b"%PDF-" in head):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _by_archive(data, claimed)
    if data.startswith(_OLE):
        raise _ole_error(data, claimed)
    for signature, name in _OTHER_SIGNATURES:
        if data.startswith(signature):
            raise UnsupportedDocument(f"the document's content is {name}; supported are {SUPPORTED}")
    if claimed is None and head.lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return None


def _ole_error(data: bytes, claimed: DocumentFormat | None) -> BrokenDocument | UnsupportedDocument:
    """The error for an OLE compound file: an encrypted Office file, or a format from before 2007."""
    if _ENCRYPTED_STREAM.encode("utf-16-le") not in data:
        for stream, description in _OLE_STREAMS:
            if stream.encode("utf-16-le") in data:
                return UnsupportedDocument(f"the document is {description}; supported are {SUPPORTED}")
        if claimed not in _ARCHIVES:
            return UnsupportedDocument(
                f"the document is in an old Office format; save it as DOCX, XLSX or PPTX; supported are {SUPPORTED}"
            )
    name = _NAMES[claimed] if claimed in _ARCHIVES else "document"
    return BrokenDocument(f"the {name} is protected by a password; save it without one and send it again")


def _by_archive(data: bytes, claimed: DocumentFormat | None) -> DocumentFormat | None:
    """The format of a ZIP container. None for a text that only begins like one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        if claimed is None or claimed in _ARCHIVES:
            name = _NAMES[claimed] if claimed else "ZIP"
            raise BrokenDocument(f"the document is a damaged or cut-off {name} file; send a whole copy") from None
        return None
    for member, document_format in _MEMBERS:
        if any(map(member.fullmatch, names)):
            return document_format
    descriptions = (description for member, description in _OTHER_MEMBERS if member in names)
    description = next(descriptions, "a ZIP file that is none of those read")
    raise UnsupportedDocument(f"the document is {description}; supported are {SUPPORTED}")
