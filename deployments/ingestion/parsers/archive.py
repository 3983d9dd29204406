"""Opens the ZIP containers that DOCX, PPTX, XLSX and EPUB are, under one limit of what they may unpack to."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from lxml import etree

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge

_ENCRYPTED = 0x1
_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAME = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/([\w/]+)")
_RENAMED = {
    b"relationships/extendedProperties": b"relationships/extended-properties",
    b"relationships/customProperties": b"relationships/custom-properties",
    b"extendedProperties": b"extended-properties",
    b"customProperties": b"custom-properties",
}
_COMMENTS = ("{*}comment", "{*}threadedComment", "{*}cm", "{*}reply")
"""Those of Word and notes on cells, those of threads on cells, and those on slides with their answers."""
_ALWAYS_ALLOWED_BYTES = 2**20
"""Any container may unpack to this size. Small ones need it: they are compressed the most."""


@contextmanager
def opened(data: bytes, inflation: int, name: str) -> Iterator[zipfile.ZipFile]:
    """The container, open for reading. It may unpack to `inflation` times its own size, or 1 MiB if that is more.

    The sizes in the headers are enough to check: the standard library never reads more of a member than its header
    says. `name` is the format's name for messages. Raises DocumentTooLarge, and BrokenDocument. Libraries may raise any
    error on a hostile file, so any other error inside the block becomes BrokenDocument too.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > max(inflation * len(data), _ALWAYS_ALLOWED_BYTES):
                raise DocumentTooLarge(
                    f"the {name} unpacks to {unpacked / 2**20:,.0f} MiB, more than {inflation} times its own size; "
                    "save it again, or split it"
                )
            if any(member.flag_bits & _ENCRYPTED for member in members):
                raise BrokenDocument(f"the {name} is protected by a password; save it without one and send it again")
            yield archive
    except (BadInput, MemoryError, RecursionError):
        raise
    except Exception as error:
        raise BrokenDocument(
            f"the {name} is damaged or protected by a password; open it in its program and save a new copy"
        ) from error


def xml(content: bytes) -> etree._Element:
    """A member's XML. Nothing outside it is read."""
    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))


def related(archive: zipfile.ZipFile, part: str) -> dict[str, str]:
    """The relationships of an Office file's part: id → the name of the member that it names."""
    folder, _, name = part.rpartition("/")
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.namelist():
        return {}
    targets: dict[str, str] = {}
    for relation in xml(archive.read(relations)).iterfind("{*}Relationship[@Id]"):
        target = relation.get("Target", "")
        path = target if target.startswith("/") else posixpath.join("/", folder, target)
        targets[relation.get("Id", "")] = posixpath.normpath(path).lstrip("/")
    return targets


def comments(archive: zipfile.ZipFile, parts: Iterable[str]) -> int:
    """How many comments these members of an Office file hold."""
    return sum(1 for part in parts for _ in xml(archive.read(part)).iter(*_COMMENTS))


def with_parts(archive: zipfile.ZipFile, parts: Mapping[str, bytes]) -> bytes:
    """The container with these members' contents in place of their own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as changed:
        for name in dict.fromkeys(archive.namelist()):
            changed.writestr(name, parts[name] if name in parts else archive.read(name))
    return buffer.getvalue()


def transitional(data: bytes) -> bytes:
    """An Office file in the names of ISO 29500's transitional form, if it is in the strict form; else as it is.

    Libraries know only the transitional form, and the two differ little but in names.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if _STRICT not in archive.read("_rels/.rels"):
            return data
        xml = (name for name in archive.namelist() if name.endswith((".xml", ".rels")))
        return with_parts(archive, {name: _STRICT_NAME.sub(_transitional_name, archive.read(name)) for name in xml})


def _transitional_name(name: re.Match[bytes]) -> bytes:
    rest = _RENAMED.get(name[2], name[2])
    return b"http://schemas.openxmlformats.org/" + name[1] + b"/2006/" + rest
