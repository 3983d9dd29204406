"""Opens the ZIP containers that DOCX, PPTX, XLSX and EPUB are, under one limit of what they may unpack to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import BadInput, BrokenDocument, DocumentTooLarge

_ENCRYPTED = 0x1
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
