"""Hostile and broken files among good ones: each is read or refused with a reason, by the same process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.errors import BadInput
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser
from tests.support.hostile import SECRET, WORD, bad_documents, good_documents

OTHERS = Path(__file__).parents[4].parent / "shared" / "data" / "documents"
REFUSED = {
    "bomb.docx": "unpacks to 20 MiB",
    "bomb.pptx": "unpacks to",
    "bomb.xlsx": "unpacks to",
    "bomb.epub": "unpacks to",
    "bomb beside.epub": "unpacks to",
    "bomb that lies.xlsx": "XLSX is damaged",
    "bomb of one member named often.docx": "unpacks to",
    "password.docx": "DOCX is protected by a password",
    "password.pptx": "PPTX is protected by a password",
    "password.xlsx": "XLSX is protected by a password",
    "encrypted office.xlsx": "XLSX is protected by a password",
    "password.pdf": "PDF is protected by a password",
    "drm.epub": "DRM",
    "scan.pdf": "OCR",
    "half.docx": "damaged or cut-off DOCX",
    "half.epub": "damaged or cut-off EPUB",
    "half.pdf": "damaged or cut off",
    "really xlsx.docx": "named as DOCX but its content is XLSX",
    "random.csv": "binary|no known encoding",
    "zip.xlsx": "ZIP file that is none",
    "row far away.xlsx": "more than 1,048,576 rows",
    "one slide often.pptx": "more than 20,000 pages",
    "page tree that is a loop.pdf": "damaged",
    "deep.html": "nested too deeply",
    "zeros.csv": "binary",
    "quote left open.csv": "quotation mark",
    "columns.csv": "16,384 columns",
    "wide, then long.csv": "more than 20,000,000 characters",
    "parts 3000 deep.eml": "nested too deeply",
}
READ = {
    "declares all cells.xlsx": "## Naslov\n\n7",
    "last cell.xlsx": "## Naslov\n\n7\n\n1",
    "outside in slide1.xml.pptx": f"## {WORD}\n\nTekst",
    "slide that refers to itself.pptx": f"## {WORD}\n\nTekst",
    "really tsv.csv": f"| {WORD} | b |\n| --- | --- |\n| Tekst | 1 |",
    "delimiters.csv": "| a | b |\n| --- | --- |",
    "unknown charset.eml": f"# {WORD}\n\nFrom: a@b.hr\n\nTekst č",
    "parts 20 deep.eml": f"# {WORD}\n\nFrom: a@b.hr\n\nTekst",
}


@pytest.fixture
def parser() -> Iterator[DocumentParser]:
    settings = {"parse_processes": 2, "parse_memory_mb": 512}
    parser = DocumentParser(IngestionConfig.model_validate(settings))
    yield parser
    parser.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


async def outcomes(parser: DocumentParser, files: dict[str, bytes]) -> dict[str, str | BadInput]:
    """The text of each file, or why there is none. Whatever else is raised fails the test."""

    async def outcome(name: str, data: bytes) -> str | BadInput:
        try:
            return (await parser.parse(data, name, "")).text
        except BadInput as refused:
            return refused

    return dict(zip(files, await asyncio.gather(*map(outcome, files, files.values())), strict=True))


async def test_each_file_is_read_or_refused_with_a_reason(parser: DocumentParser, font: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    good = good_documents(font)
    files = dict(bad_documents(good, font, secret)) | {f"good.{extension}": data for extension, data in good.items()}
    found = await outcomes(parser, files)
    assert len(found) > 400
    for name, outcome in found.items():
        if isinstance(outcome, BadInput):
            assert not name.startswith("good."), f"{name}: {outcome.message}"
            assert " took more than " not in outcome.message, name
            assert " crashed " not in outcome.message, name
        else:
            assert any(map(str.isalnum, outcome)), name
            assert SECRET not in outcome, name
            assert WORD in outcome or not name.startswith("good."), name
    for name, reason in REFUSED.items():
        outcome = found[name]
        assert isinstance(outcome, BadInput), name
        assert re.search(reason, outcome.message), f"{name}: {outcome.message}"
    assert {name: found[name] for name in READ} == READ


@pytest.mark.skipif(not OTHERS.is_dir(), reason=f"there is no folder {OTHERS}")
async def test_documents_from_elsewhere(parser: DocumentParser) -> None:
    found = await outcomes(parser, contents(OTHERS))
    assert found
    for name, outcome in found.items():
        if name.endswith((".pdf", ".docx", ".pptx", ".xlsx", ".html", ".epub", ".md", ".txt")):
            assert isinstance(outcome, str), f"{name}: {outcome}"
            assert outcome, name
