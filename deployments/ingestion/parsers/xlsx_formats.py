"""Writes a cell's value as its number format shows it: "25%", "1.234,50 EUR", "31.1.2025."."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from openpyxl.styles.numbers import is_date_format

CROATIAN_FORMAT = re.compile(r"\[\$[^\]]*-41A\]|\b(?:EUR|HRK|kn|KM)\b|€", re.IGNORECASE)
"""What only formats of Croatian workbooks, and of those with its currencies, have."""
_ENGLISH_FORMAT = re.compile(r"\[\$[^\]]*-(?:409|809)\]|\[?\$(?!\D?-)|£|USD|GBP")
_SHORT_DATE = "mm-dd-yy"
"""What the library gives for the format that shows a date in the way of the reader's own country."""
_LIBRARIES_DATE = "yyyy-mm-dd h:mm:ss"
"""What libraries write for a date that was given no format. At midnight it is a day."""
_BRACKET = re.compile(r"\[(?:\$([^\]-]*)(?:-[^\]]*)?|[^\]]*)\]")
_PIECE = re.compile(r'"([^"]*)"|\\(.)|_(.)|\*(.)|([0#?][0#?,.]*|\.[0#?]+)|(.)', re.DOTALL)
_DATE_PIECE = re.compile(r'"([^"]*)"|\\(.)|_.|\*.|(AM/PM|A/P|y+|m+|d+|h+|s+)|(.)', re.DOTALL | re.IGNORECASE)
_LARGEST = 10**15
"""A spreadsheet keeps 15 digits."""


def shown(value: object, number_format: str, croatian: bool) -> str:
    """The value as text. `croatian`: numbers are written as in Croatia, unless their format is of another country."""
    match value:
        case bool():
            return str(value).upper()
        case datetime() | date() | time():
            return _date(value, number_format, croatian)
        case int() | float():
            croatian = bool(CROATIAN_FORMAT.search(number_format)) or (
                croatian and not _ENGLISH_FORMAT.search(number_format)
            )
            text = _number(value, number_format, croatian) if abs(value) < _LARGEST else None
            return plain(value) if text is None else text
        case _:
            return str(value)


def plain(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class _Format:
    """A format of one number between two literal texts."""

    before: str
    after: str
    whole_digits: int
    decimals: int
    required_decimals: int
    grouped: bool
    scale: int
    """The power of ten by which the number is multiplied."""


def _number(value: float, number_format: str, croatian: bool) -> str | None:
    """The number in this format; None for a format that is not understood, and for the general one."""
    sections = _sections(number_format)
    if any(re.search(r"\[[<>=]", section) for section in sections):
        return None
    index = (1 if value < 0 else 2 if value == 0 else 0) if len(sections) > 1 else 0
    index = index if index < len(sections) else 0
    parsed = _parsed(sections[index])
    if parsed is None:
        return None
    scaled = abs(Decimal(repr(value))).scaleb(parsed.scale)
    number = f"{scaled.quantize(Decimal(1).scaleb(-parsed.decimals), ROUND_HALF_UP):f}"
    whole, _, decimals = number.partition(".")
    while len(decimals) > parsed.required_decimals and decimals.endswith("0"):
        decimals = decimals[:-1]
    whole = whole.lstrip("0").rjust(parsed.whole_digits, "0")
    if parsed.grouped:
        whole = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", "." if croatian else ",", whole)
    sign = "-" if value < 0 and index == 0 and any(digit in "123456789" for digit in number) else ""
    text = whole + ("," if croatian else ".") * bool(decimals) + decimals
    return f"{sign}{parsed.before}{text}{parsed.after}".strip()


@lru_cache(maxsize=256)
def _sections(number_format: str) -> tuple[str, ...]:
    return tuple(re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', number_format[:500]))


@lru_cache(maxsize=256)
def _parsed(section: str) -> _Format | None:
    section = _BRACKET.sub(lambda bracket: f'"{bracket[1]}"' if bracket[1] else "", section)
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
    if not pattern:
        return None
    whole, _, decimals = pattern.partition(".")
    body = whole if decimals else whole.rstrip(",")
    thousands = len(pattern) - len(pattern.rstrip(","))
    decimals = decimals.rstrip(",")
    return _Format(
        before=texts[0],
        after=texts[1],
        whole_digits=body.count("0"),
        decimals=len(decimals),
        required_decimals=len(decimals.rstrip("#?")),
        grouped="," in body,
        scale=2 * percents - 3 * thousands,
    )


def _date(value: datetime | date | time, number_format: str, croatian: bool) -> str:
    if number_format == _SHORT_DATE and croatian and isinstance(value, date):
        return f"{value.day}.{value.month}.{value.year}."
    if number_format == _LIBRARIES_DATE and isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    text = None if number_format == _SHORT_DATE else _written_date(value, _sections(number_format)[0])
    if text is not None:
        return text
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    return value.isoformat()


def _written_date(value: datetime | date | time, section: str) -> str | None:
    """The date or time in this format; None for one that is not understood, or has names of months and days."""
    if not is_date_format(section) or re.search(r"\[[hms]+\]", section, re.IGNORECASE):
        return None
    pieces = [*_DATE_PIECE.finditer(_BRACKET.sub("", section))]
    fields = [(piece[3] or "").lower() for piece in pieces]
    twelve_hours = any(field in ("am/pm", "a/p") for field in fields)
    text = ""
    for index, (piece, field) in enumerate(zip(pieces, fields, strict=True)):
        if not field:
            text += piece[1] or piece[2] or piece[4] or ""
            continue
        before = next((name[0] for name in reversed(fields[:index]) if name), "")
        after = next((name[0] for name in fields[index + 1 :] if name), "")
        part = _field(value, field, minutes=before == "h" or after == "s", twelve_hours=twelve_hours)
        if part is None:
            return None
        text += part
    return text.strip()


def _field(value: datetime | date | time, field: str, *, minutes: bool, twelve_hours: bool) -> str | None:
    if field in ("am/pm", "a/p"):
        return (
            None if not isinstance(value, datetime | time) else ("AM" if value.hour < 12 else "PM")[: len(field) // 2]
        )
    kind, wide = field[0], len(field) > 1
    if kind == "m" and len(field) <= 2 and minutes:
        return _padded(getattr(value, "minute", None), wide)
    if kind in "hs" and len(field) <= 2:
        number = getattr(value, "hour" if kind == "h" else "second", None)
        return _padded((number + 11) % 12 + 1 if kind == "h" and twelve_hours and number is not None else number, wide)
    if kind == "y" and isinstance(value, date):
        return f"{value.year:04d}" if len(field) > 2 else f"{value.year % 100:02d}"
    if kind in "md" and len(field) <= 2 and isinstance(value, date):
        return _padded(value.month if kind == "m" else value.day, wide)
    return None


def _padded(number: int | None, wide: bool) -> str | None:
    return None if number is None else f"{number:02d}" if wide else str(number)
