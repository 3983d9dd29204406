"""What fetching a document comes to, and the room there is for it."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.errors import DocumentTooLarge


@dataclass(frozen=True, slots=True)
class Fetched:
    """`filename` and `media_type` as the source tells them, each empty where it does not."""

    data: bytes
    filename: str
    media_type: str


class Room:
    """Bytes that one request's documents may still take together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.left = most

    def take(self, size: int) -> None:
        """Raises DocumentTooLarge."""
        self.check(size)
        self.left -= size

    def check(self, size: int) -> None:
        """Raises DocumentTooLarge if so many bytes would be too many."""
        if size > self.left:
            raise DocumentTooLarge(
                f"the documents named in one request may have {self.most} bytes together; "
                "name fewer at once, or raise sources.max_bytes"
            )
