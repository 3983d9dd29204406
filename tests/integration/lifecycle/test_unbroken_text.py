"""Documents with text that has no spaces: all of it is in bounded passages, and what stands beside it is found."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.world import INGESTION, world

MOST_CHARACTERS = 10 * INGESTION.chunk_tokens
HEX = "".join(random.Random(7).choices("0123456789abcdef", k=30_000))
THAI = "ประเทศไทยมีการปกครองระบอบประชาธิปไตย" * 500
BEFORE, AFTER = "Uvodni tekst o tvornici keksa.", "Rok za žalbu je 15 dana."
LINES = "\n".join(["iVBORw0KGgoA" * 6] * 900)
PICTURES = {
    "picture.md": f"![x](data:image/png;base64,{'iVBORw0KGgo' * 6_000})",
    "picture in lines.md": f'<img src="data:image/png;base64,{LINES}">',
}
UNBROKEN = {
    "letters.txt": "ab" * 30_000,
    "letters beyond what an embedder takes.txt": "x" * 200_000,
    "thai.txt": THAI,
    "blob.txt": f"Potpis odluke: {HEX}",
    "code.md": f"```\n{HEX}\n```",
    "table.md": f"| a | b |\n|---|---|\n| {HEX} | b |",
    "heading.md": f"# {HEX}",
    "title.html": f"<title>{HEX}</title><h1>{HEX}</h1>",
}


async def test_text_without_spaces_hides_nothing_beside_it(tmp_path: Path) -> None:
    documents = {**PICTURES, **UNBROKEN}
    async with world(tmp_path) as service:
        await service.add_tenant("acme")
        for name, unbroken in documents.items():
            after = f"<p>{AFTER}</p>" if name.endswith("html") else AFTER
            file = (name, f"{BEFORE}\n\n{unbroken}\n\n{after}".encode())
            answer = await service.call("acme", "POST", "/v1/documents", files=[("files", file)])
            job = await service.settled("acme", answer.raise_for_status().json()["job_id"])
            assert job["documents"][0]["state"] == "indexed", job

            path = f"/v1/documents/{answer.json()['documents'][0]['id']}/chunks"
            listed = await service.call("acme", "GET", path, params={"limit": 200})
            texts = [chunk["text"] for chunk in listed.raise_for_status().json()["chunks"]]
            assert max(map(len, texts)) <= MOST_CHARACTERS, name
            assert any(AFTER in text for text in texts), name
            kept = sum(map(len, texts))
            assert kept < 200 if name in PICTURES else kept >= len(unbroken) - 200, name
