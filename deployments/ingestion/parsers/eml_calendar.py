"""Reads invitations in e-mail (iCalendar), as mail programs show them: what, when, where and the description."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r"([A-Z-]+)((?:;[^:\"\n]*(?:\"[^\"\n]*\")?)*):(.*)", re.IGNORECASE)
_KINDS = ("VEVENT", "VTODO", "VJOURNAL")
_SHOWN = {
    "SUMMARY": "Summary",
    "DTSTART": "Start",
    "DTEND": "End",
    "DUE": "Due",
    "LOCATION": "Location",
    "DESCRIPTION": "Description",
}
_TIMES = ("DTSTART", "DTEND", "DUE")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_ZONE = re.compile(r";TZID=\"?([^;:\"]+)", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([nN,;\\])")
_EVENTS = 100


def invitations(text: str) -> str:
    """The events of a calendar as lines; empty if it has none."""
    return "\n\n".join(filter(None, _events(_FOLD.sub("", text))))


def _events(text: str) -> Iterator[str]:
    lines: list[str] = []
    kinds: list[str] = []  # of the parts that the line is in, outermost first
    events = 0
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        name, parameters, value = found[1].upper(), found[2], found[3]
        if name == "BEGIN":
            kinds.append(value.upper())
        elif name == "END" and kinds:
            if kinds.pop() in _KINDS:
                yield "\n".join(lines)
                lines = []
                events += 1
                if events == _EVENTS:
                    return
        elif kinds and kinds[-1] in _KINDS and name in _SHOWN and value:
            shown = _time(value, parameters) if name in _TIMES else _ESCAPED.sub(_unescaped, value)
            lines.append(f"{_SHOWN[name]}: {shown}")


def _unescaped(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] in "nN" else escaped[1]


def _time(value: str, parameters: str) -> str:
    """A day, or a time with its zone: "2025-03-10 09:00 UTC"."""
    found = _TIME.fullmatch(value)
    if found is None:
        return value
    day = f"{found[1]}-{found[2]}-{found[3]}"
    if not found[4]:
        return day
    zone = _ZONE.search(parameters)
    return " ".join(filter(None, (day, f"{found[4]}:{found[5]}", "UTC" if found[6] else zone[1] if zone else "")))
