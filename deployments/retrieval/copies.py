"""Passages of a version as another version has them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from deployments.types import IndexEntry, VersionCopy


def copied(entry: IndexEntry, copy: VersionCopy) -> IndexEntry:
    """The same text and vectors, under an id that is the same each time and no other version's."""
    passage = entry.passage
    kept = {key: value for key, value in passage.metadata.items() if key not in copy.replaces}
    return replace(
        entry,
        passage=replace(
            passage,
            id=hashlib.sha256(f"{passage.id}\0{copy.to}".encode()).hexdigest(),
            version=copy.to,
            metadata={**kept, **copy.metadata},
        ),
    )
