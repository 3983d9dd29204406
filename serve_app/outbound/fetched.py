"""What fetching a document comes to, and the bytes that one request may fetch."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.errors import DocumentTooLarge


@dataclass(frozen=True, slots=True)
class Fetched:
    """`filename` and `media_type` as the source tells them, each empty where it does not."""

    data: bytes
    filename: str
    media_type: str


class SizeBudget:
    """The bytes that one request's documents may still take together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.remaining = limit

    def take(self, size: int) -> None:
        """Raises DocumentTooLarge."""
        self.check(size)
        self.remaining -= size

    def check(self, size: int) -> None:
        """Raises DocumentTooLarge if so many bytes would be too many."""
        if size > self.remaining:
            raise DocumentTooLarge(
                f"the documents named in one request may have {self.limit} bytes together; "
                "name fewer at once, or raise sources.max_bytes"
            )
