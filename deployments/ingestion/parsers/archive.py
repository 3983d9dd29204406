"""ZIP containers, which DOCX, PPTX, XLSX and EPUB are: opened in one place, under one limit."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge

_ENCRYPTED = 0x1
_HARMLESS = 2**20
"""What any container may unpack to, however small it is: the smallest ones are the most compressed."""


@contextmanager
def opened(data: bytes, inflation: int, name: str) -> Iterator[zipfile.ZipFile]:
    """A container that unpacks to at most `inflation` times its own size, or 1 MiB. The standard library never reads
    more of a member than its header declares, so what the headers declare bounds what is unpacked.

    `name` is the format's, for messages. What a library raises on a hostile file is anybody's guess: whatever is
    raised inside, but our own errors and those that `parse` knows, becomes BrokenDocument.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > max(inflation * len(data), _HARMLESS):
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
