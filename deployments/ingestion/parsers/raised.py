"""Numbers that stand raised or lowered beside a text: powers, indices, and the numbers of notes."""

from __future__ import annotations

import re

RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_UNIT = re.compile(r"(?:^|\W)[a-zA-Zčćđšž]{1,2}$")


def raised(before: str, number: str) -> str:
    """A raised number as it is written after a text: 10³, but m2, as people type units, and a note's apart: unija ¹."""
    if _UNIT.search(before[-4:]):
        return number
    return " " * before[-1:].isalpha() + number.translate(RAISED)
