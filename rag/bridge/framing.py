"""Bytes ↔ frames: 4 bytes of big-endian length and a body, as Erlang's `packet: 4`, or lines that end in \\n.

A decoder holds at most one frame of the maximum size and the last input. Longer frames are discarded as they arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

_LENGTH = 4


@dataclass(frozen=True, slots=True)
class TooLarge:
    """In place of a frame over the maximum size."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """In place of a frame that the end of the input cut off."""


Decoded = bytes | TooLarge | Truncated


class Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[Decoded]:
        """The complete frames. Exhaust the iterator before the next call."""

    def end(self) -> Iterator[Decoded]:
        """The rest of the input, at its end."""


class FrameDecoder:
    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._held = bytearray()
        self._to_discard = 0

    def feed(self, data: bytes) -> Iterator[Decoded]:
        self._held += data
        while True:
            if self._to_discard:
                dropped = min(self._to_discard, len(self._held))
                del self._held[:dropped]
                self._to_discard -= dropped
                if self._to_discard:
                    return
                yield TooLarge()
            if len(self._held) < _LENGTH:
                return
            length = int.from_bytes(self._held[:_LENGTH], "big")
            if length > self._max:
                del self._held[:_LENGTH]
                self._to_discard = length
                continue
            if len(self._held) < _LENGTH + length:
                return
            frame = bytes(self._held[_LENGTH : _LENGTH + length])
            del self._held[: _LENGTH + length]
            yield frame

    def end(self) -> Iterator[Decoded]:
        if self._to_discard or self._held:
            yield Truncated()


class LineDecoder:
    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._held = bytearray()
        self._searched = 0
        self._discarding = False

    @property
    def overflowing(self) -> bool:
        """Whether the current line is over the maximum size already."""
        return self._discarding

    def feed(self, data: bytes) -> Iterator[Decoded]:
        self._held += data
        while (end := self._held.find(b"\n", self._searched)) >= 0:
            too_large = self._discarding or end > self._max
            line = b"" if too_large else bytes(self._held[:end])
            del self._held[: end + 1]
            self._searched, self._discarding = 0, False
            yield TooLarge() if too_large else line
        if self._discarding or len(self._held) > self._max:
            self._discarding = True
            self._held.clear()
        self._searched = len(self._held)

    def end(self) -> Iterator[Decoded]:
        """A last line may lack its \\n."""
        if self._discarding:
            yield TooLarge()
        elif self._held:
            yield bytes(self._held)


@dataclass(frozen=True, slots=True)
class Framing:
    """How bodies are framed in a stream of bytes. `decoder` takes the maximum size of a body."""

    decoder: Callable[[int], Decoder]
    encode: Callable[[bytes], bytes]


FRAMES = Framing(FrameDecoder, lambda body: len(body).to_bytes(_LENGTH, "big") + body)
LINES = Framing(LineDecoder, lambda body: body + b"\n")
