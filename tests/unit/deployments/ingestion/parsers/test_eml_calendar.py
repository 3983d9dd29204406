"""Invitations are read as mail programs show them."""

from __future__ import annotations

from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from deployments.ingestion.omissions import warnings
from deployments.ingestion.parsers.eml import parse_email
from deployments.ingestion.parsers.eml_calendar import invitations
from deployments.ingestion.parsers.limits import Limits

CALENDAR = r"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VTIMEZONE
TZID:Europe/Zagreb
BEGIN:STANDARD
DTSTART:19701025T030000
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:1
SUMMARY:Sjednica vij
 eća
DTSTART;TZID="Europe/Zagreb":20250310T090000
DTEND:20250310T100000Z
LOCATION:Vijećnica\, 2. kat
DESCRIPTION;LANGUAGE=hr:Točka 1: proračun\nTočka 2: razno
BEGIN:VALARM
DESCRIPTION:Podsjetnik
END:VALARM
END:VEVENT
END:VCALENDAR
"""
SHOWN = """Summary: Sjednica vijeća
Start: 2025-03-10 09:00 Europe/Zagreb
End: 2025-03-10 10:00 UTC
Location: Vijećnica, 2. kat
Description: Točka 1: proračun
Točka 2: razno"""


def message(kind: str, *parts: MIMEText) -> bytes:
    made = MIMEMultipart(kind)
    made["Subject"] = "Poziv"
    for part in parts:
        made.attach(part)
    return made.as_bytes()


def test_an_invitation_is_read_beside_the_text(limits: Limits) -> None:
    calendar = MIMEText(CALENDAR, "calendar", "utf-8")
    page = MIMEText("<p>Pozivam vas.</p>", "html", "utf-8")
    data = message("alternative", MIMEText("Pozivam vas.", "plain", "utf-8"), page, calendar)
    assert parse_email(data, limits).text == f"# Poziv\n\nPozivam vas.\n\n{SHOWN}"
    assert parse_email(message("alternative", calendar), limits).text == f"# Poziv\n\n{SHOWN}"


def test_a_calendar_in_a_file_is_an_attachment(limits: Limits) -> None:
    calendar = MIMEText(CALENDAR, "calendar", "utf-8")
    calendar.add_header("Content-Disposition", "attachment", filename="poziv.ics")
    document = parse_email(message("mixed", MIMEText("Pozivam.", "plain", "utf-8"), calendar), limits)
    assert document.text == "# Poziv\n\nPozivam.\n\nAttachments: poziv.ics"
    assert warnings(document.left_out) == ("1 attachment of a kind that is not read",)


def test_days_tasks_and_lines_of_no_kind() -> None:
    task = "BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nSUMMARY:Ponuda\r\nDUE;VALUE=DATE:20250312\r\nbez kraja\r\nEND:VTODO\r\n"
    assert invitations(task) == "Summary: Ponuda\nDue: 2025-03-12"
    assert invitations("BEGIN:VEVENT\nDTSTART:sutra\nEND:VEVENT\nEND:VEVENT\nSUMMARY:a") == "Start: sutra"
    assert invitations("") == ""


def test_events_are_bounded() -> None:
    text = "".join(f"BEGIN:VEVENT\nSUMMARY:{n}\nEND:VEVENT\n" for n in range(150))
    assert len(invitations(text).split("\n\n")) == 100
