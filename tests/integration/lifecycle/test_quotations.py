"""From a document's bytes to an extractive answer: quotations are word for word, and an article is one by any name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.world import World, world

LAW = """# Zakon o primjeru

## Članak 12.

(1) Prijava se podnosi u roku od osam dana.

## Članak 13.

(1) Inspektor može zatvoriti objekt.
"""
LIMITS = "Tlak u kotlu mora biti > 3 bara. \n\nKlasa 341 > 12 vrijedi za kotlovnice.\n"
PAGE = "<h1>Cjenik</h1><p>&gt; 10 kg plaća se posebna naknada.</p><blockquote>Navod o kotlu.</blockquote>"


async def ask(service: World, question: str) -> str:
    body: dict[str, Any] = {"query": question, "stream": False, "language": "hr"}
    answer: str = (await service.call("acme", "POST", "/v1/query", json=body)).raise_for_status().json()["answer"]
    return answer


async def test_answers_from_documents_as_they_are(tmp_path: Path) -> None:
    async with world(tmp_path) as service:
        await service.add_tenant("acme")
        for name, content in {"law.md": LAW, "limits.txt": LIMITS, "page.html": PAGE}.items():
            answer = await service.call("acme", "POST", "/v1/documents", files=[("files", (name, content.encode()))])
            await service.settled("acme", answer.raise_for_status().json()["job_id"])

        assert "Klasa 341 > 12 vrijedi za kotlovnice. [" in await ask(service, "Koja klasa vrijedi za kotlovnice?")
        assert "Tlak u kotlu mora biti > 3 bara. [" in await ask(service, "Koliki tlak mora biti u kotlu?")
        assert "> 10 kg plaća se posebna naknada. [" in await ask(service, "Za koliko kg se plaća naknada?")

        questions = ["Što kaže članak 13.?", "Što piše u članku 13?", "Što kaže čl. 13?", "Objasni čl. br. 13"]
        answers = {(await ask(service, question))[:-3] for question in questions}
        assert answers == {"Članak 13. (1) Inspektor može zatvoriti objekt. "}
