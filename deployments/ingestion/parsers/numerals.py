"""Writes the numbers of list items as letters and Roman figures."""

from __future__ import annotations

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_MOST_LETTERS = 30


def letters(number: int) -> str:
    """a to z, then aa, bb, …, as Word counts. Empty for a number below 1."""
    return chr(ord("a") + (number - 1) % 26) * min((number - 1) // 26 + 1, _MOST_LETTERS) if number > 0 else ""


def roman(number: int) -> str:
    """A number from 1 to 3,999 in small Roman figures; empty for another."""
    text = ""
    if 0 < number < 4000:
        for value, figure in _ROMAN:
            text += figure * (number // value)
            number %= value
    return text
