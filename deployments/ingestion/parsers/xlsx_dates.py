"""Writes dates, times and durations as their number formats show them: "31.1.2025.", "9. ožujka 2025.", "49:30"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

_SHORT_DATE = "mm-dd-yy"
"""What the library gives for the format that shows a date in the way of the reader's own country."""
_LIBRARIES_DATE = "yyyy-mm-dd h:mm:ss"
"""What libraries write for a date that was given no format. At midnight it is a day."""
_PIECE = re.compile(r'"([^"]*)"|\\(.)|_.|\*.|(AM/PM|A/P|y+|m+|d+|h+|s+)|(.)', re.DOTALL | re.IGNORECASE)
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.', re.DOTALL)
_FIELD = re.compile("[dmyhs]", re.IGNORECASE)
_DURATION = re.compile(r"\[(h+|m+|s+)\](?::(mm))?(?::(ss))?(?:\.0+)?", re.IGNORECASE)
_MONTHS = (
    ("siječanj", "siječnja", "sij"),
    ("veljača", "veljače", "velj"),
    ("ožujak", "ožujka", "ožu"),
    ("travanj", "travnja", "tra"),
    ("svibanj", "svibnja", "svi"),
    ("lipanj", "lipnja", "lip"),
    ("srpanj", "srpnja", "srp"),
    ("kolovoz", "kolovoza", "kol"),
    ("rujan", "rujna", "ruj"),
    ("listopad", "listopada", "lis"),
    ("studeni", "studenoga", "stu"),
    ("prosinac", "prosinca", "pro"),
)
"""The names of months by themselves, beside a day, and short."""
_DAYS = ["ponedjeljak", "utorak", "srijeda", "četvrtak", "petak", "subota", "nedjelja"]
_SHORT_DAYS = ["pon", "uto", "sri", "čet", "pet", "sub", "ned"]


def shown_date(value: datetime | date | time, section: str, croatian: bool) -> str:
    """A date or time in a section of a format, without brackets; in ISO's form where that is not understood.

    `croatian`: months and days have their Croatian names. Those of other languages are not known here.
    """
    if section == _SHORT_DATE and croatian and isinstance(value, date):
        return f"{value.day}.{value.month}.{value.year}."
    if section == _LIBRARIES_DATE and isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    text = None if section == _SHORT_DATE else _written(value, section, croatian)
    if text is not None:
        return text
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    return value.isoformat()


def shown_duration(value: timedelta, section: str) -> str:
    """A duration, which may be longer than a day. In a format that is not understood it is in hours and minutes."""
    found = _DURATION.fullmatch(section.partition("@")[0].strip().rstrip(";"))
    seconds = round(abs(value).total_seconds())
    largest, minutes, rest = (found[1][0].lower(), found[2], found[3]) if found else ("h", "mm", "ss")
    size = {"h": 3600, "m": 60, "s": 1}[largest]
    text = str(seconds // size).rjust(len(found[1]) if found else 1, "0")
    if largest == "h" and minutes:
        text += f":{seconds % 3600 // 60:02d}"
    if largest != "s" and rest:
        text += f":{seconds % 60:02d}"
    return f"-{text}" if value < timedelta() else text


@dataclass(frozen=True, slots=True)
class _Piece:
    """A literal, or a field such as "dd". `minutes`: an "m" in it stands beside hours or seconds."""

    literal: str
    field: str
    minutes: bool


def _written(value: datetime | date | time, section: str, croatian: bool) -> str | None:
    """The date or time in this format; None for one that is not understood."""
    pieces = _pieces(section)
    if not pieces:
        return None
    fields = [piece.field for piece in pieces]
    twelve_hours = "am/pm" in fields or "a/p" in fields
    of_month = "d" in fields or "dd" in fields
    text = ""
    for piece in pieces:
        part: str | None = piece.literal
        if piece.field:
            part = _field(value, piece.field, minutes=piece.minutes, twelve_hours=twelve_hours)
            if part is None and croatian and isinstance(value, date):
                part = _name(value, piece.field, of_month=of_month)
        if part is None:
            return None
        text += part
    return text.strip()


@lru_cache(maxsize=256)
def _pieces(section: str) -> tuple[_Piece, ...]:
    """The pieces of a format; none if it has no field."""
    if not _FIELD.search(_LITERAL.sub("", section)):
        return ()
    found = [*_PIECE.finditer(section)]
    fields = [(piece[3] or "").lower() for piece in found]
    pieces: list[_Piece] = []
    for index, (piece, field) in enumerate(zip(found, fields, strict=True)):
        before = next((name[0] for name in reversed(fields[:index]) if name), "")
        after = next((name[0] for name in fields[index + 1 :] if name), "")
        literal = "" if field else piece[1] or piece[2] or piece[4] or ""
        pieces.append(_Piece(literal, field, minutes=before == "h" or after == "s"))
    return tuple(pieces)


def _name(value: date, field: str, *, of_month: bool) -> str | None:
    """The name of a month or day. `of_month`: the month stands beside a day, as in "9. ožujka"."""
    match field:
        case "mmm":
            return _MONTHS[value.month - 1][2]
        case "mmmm":
            return _MONTHS[value.month - 1][of_month]
        case "ddd":
            return _SHORT_DAYS[value.weekday()]
        case "dddd":
            return _DAYS[value.weekday()]
        case _:
            return None


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
