"""Writes a cell's value as its number format shows it: "25%", "1.234,50 EUR", "31.1.2025."."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache

from deployments.ingestion.parsers.xlsx_dates import shown_date, shown_duration

CROATIAN_FORMAT = re.compile(r"\[\$[^\]]*-41A\]|\b(?:EUR|HRK|kn|KM)\b|€", re.IGNORECASE)
"""What only formats of Croatian workbooks, and of those with its currencies, have."""
_ENGLISH_FORMAT = re.compile(r"\[\$[^\]]*-(?:409|809)\]|\[?\$(?!\D?-)|£|USD|GBP")
_BRACKET = re.compile(r"\[(?:\$([^\]-]*)(?:-[^\]]*)?|[^\]]*)\]")
_PIECE = re.compile(r'"([^"]*)"|\\(.)|_(.)|\*(.)|([0#?][0#?,.]*|\.[0#?]+)|(.)', re.DOTALL)
_SCIENTIFIC = re.compile(r"[0#?](?:\.([0#?]+))?E([+-])([0#?]+)", re.IGNORECASE)
_FRACTION = re.compile(r"([#0?]*)\s*[#0?]+/([#0?]+|[1-9]\d{0,4})")
_DENOMINATOR_DIGITS = 3
_LARGEST = 10**15
"""A spreadsheet keeps 15 digits."""


def shown(value: object, number_format: str, croatian: bool) -> str:
    """The value as text. `croatian`: numbers are written as in Croatia, unless their format is of another country."""
    match value:
        case bool():
            return str(value).upper()
        case datetime() | date() | time():
            section = _without_brackets(_sections(number_format)[0])
            return shown_date(value, section, _is_croatian(number_format, croatian))
        case timedelta():
            return shown_duration(value, _sections(number_format)[0])
        case int() | float():
            croatian = _is_croatian(number_format, croatian)
            text = _number(value, number_format, croatian) if abs(value) < _LARGEST else None
            return plain(value) if text is None else text
        case str() if number_format not in ("General", "@"):
            return _text(value, _sections(number_format))
        case _:
            return str(value)


@lru_cache(maxsize=256)
def _is_croatian(number_format: str, croatian: bool) -> bool:
    return bool(CROATIAN_FORMAT.search(number_format)) or (croatian and not _ENGLISH_FORMAT.search(number_format))


def _text(value: str, sections: tuple[str, ...]) -> str:
    """A text in the section for texts: the fourth, or the only one if it has an @."""
    section = sections[3] if len(sections) > 3 else sections[0] if len(sections) == 1 and "@" in sections[0] else "@"
    text = ""
    for literal, escaped, blank, _, digits, other in _PIECE.findall(section):
        text += value if other == "@" else literal or escaped or (" " if blank else "") or digits or other
    return text.strip()


def plain(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class _Format:
    """A format of one number between two literal texts, or of the first text alone."""

    before: str
    after: str
    has_number: bool
    whole_digits: int
    decimals: int
    required_decimals: int
    grouped: bool
    scale: int
    """The power of ten by which the number is multiplied."""


def _number(value: float, number_format: str, croatian: bool) -> str | None:
    """The number in this format; None for a format that is not understood, and for the general one."""
    sections = _sections(number_format)
    if _has_conditions(number_format):
        return None
    index = (1 if value < 0 else 2 if value == 0 else 0) if len(sections) > 1 else 0
    index = index if index < len(sections) else 0
    section = _without_brackets(sections[index])
    sign = "-" if value < 0 and index == 0 else ""
    parsed = _parsed(section)
    if parsed is None:
        special = _special(abs(value), section, croatian)
        return special if special is None else f"{sign}{special}"
    if not parsed.has_number:
        return parsed.before.strip()
    scaled = abs(Decimal(repr(value))).scaleb(parsed.scale)
    number = f"{scaled.quantize(Decimal(1).scaleb(-parsed.decimals), ROUND_HALF_UP):f}"
    whole, _, decimals = number.partition(".")
    while len(decimals) > parsed.required_decimals and decimals.endswith("0"):
        decimals = decimals[:-1]
    whole = whole.lstrip("0").rjust(parsed.whole_digits, "0")
    if parsed.grouped:
        whole = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", "." if croatian else ",", whole)
    sign = sign if any(digit in "123456789" for digit in number) else ""
    text = whole + ("," if croatian else ".") * bool(decimals) + decimals
    return f"{sign}{parsed.before}{text}{parsed.after}".strip()


@lru_cache(maxsize=256)
def _sections(number_format: str) -> tuple[str, ...]:
    return tuple(re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', number_format[:500]))


@lru_cache(maxsize=256)
def _has_conditions(number_format: str) -> bool:
    return any(re.search(r"\[[<>=]", section) for section in _sections(number_format))


@lru_cache(maxsize=256)
def _without_brackets(section: str) -> str:
    """The section without colours and languages. What a bracket shows, such as a currency, stays as a literal."""
    return _BRACKET.sub(lambda bracket: f'"{bracket[1]}"' if bracket[1] else "", section)


def _special(value: float, section: str, croatian: bool) -> str | None:
    """A number with an exponent, as a fraction, or in groups as telephone numbers have; None for another format."""
    section = section.strip()
    if power := _SCIENTIFIC.fullmatch(section):
        mantissa, _, exponent = f"{value:.{len(power[1] or '')}e}".partition("e")
        size = exponent.lstrip("+-").lstrip("0").rjust(len(power[3]), "0")
        mark = "-" if exponent.startswith("-") else "+" if power[2] == "+" else ""
        return f"{mantissa.replace('.', ',') if croatian else mantissa}E{mark}{size}"
    if fraction := _FRACTION.fullmatch(section):
        return _fraction(value, fraction[2], mixed=bool(fraction[1]))
    return _groups(value, section)


def _fraction(value: float, denominator: str, *, mixed: bool) -> str:
    """`denominator`: a place for each of its digits, or the number itself."""
    if denominator.isdecimal() and denominator.strip("0"):
        exact = int(denominator)
        parts = round(value * exact)
    else:
        nearest = Fraction(value).limit_denominator(10 ** min(len(denominator), _DENOMINATOR_DIGITS) - 1)
        parts, exact = nearest.numerator, nearest.denominator
    whole, rest = divmod(parts, exact) if mixed else (0, parts)
    return f"{whole or ''} {rest}/{exact}".strip() if rest else str(whole)


def _groups(value: float, section: str) -> str | None:
    """The digits of a number from the right in the places of a format such as 000-000."""
    pieces = [*_PIECE.finditer(section)]
    slots = "".join(piece[5] or "" for piece in pieces)
    if (
        not slots
        or slots.strip("0#")
        or any(piece[6] and (piece[6].isalpha() or piece[6] in "@/?%") for piece in pieces)
    ):
        return None
    digits = str(round(value)).rjust(slots.count("0"), "0")
    surplus, digits = digits[: max(len(digits) - len(slots), 0)], digits[max(len(digits) - len(slots), 0) :]
    filled = iter(digits.rjust(len(slots)))
    text = ""
    for literal, escaped, _, _, places, other in (piece.groups() for piece in pieces):
        if places:
            text += "".join(next(filled) for _ in places)
        else:
            text += literal or escaped or other or ""
    first = next((index for index, character in enumerate(text) if character.isdecimal()), len(text))
    return (text[:first] + surplus + text[first:]).strip()


@lru_cache(maxsize=256)
def _parsed(section: str) -> _Format | None:
    """A section of a format, without brackets; None for one that `_special` may understand."""
    if "general" in section.lower():
        return None
    texts, pattern, percents = ["", ""], "", 0
    for piece in _PIECE.finditer(section):
        literal, escaped, blank, _, digits, other = piece.groups()
        if digits:
            if pattern:
                return None  # such as a telephone number's
            pattern = digits
            continue
        if other and (other.isalpha() or other in "@/?"):
            return None
        percents += other == "%"
        texts[bool(pattern)] += literal or escaped or (" " if blank else "") or other or ""
    whole, _, decimals = pattern.partition(".")
    body = whole if decimals else whole.rstrip(",")
    thousands = len(pattern) - len(pattern.rstrip(","))
    decimals = decimals.rstrip(",")
    return _Format(
        before=texts[0],
        after=texts[1],
        has_number=bool(pattern),
        whole_digits=body.count("0"),
        decimals=len(decimals),
        required_decimals=len(decimals.rstrip("#?")),
        grouped="," in body,
        scale=2 * percents - 3 * thousands,
    )
