"""Other parsers of PDF: ours before it knew layouts, and libraries that are installed."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

from deployments.ingestion.parsers.limits import Limits

BEFORE = "a172584"
"""The last commit with the parser that joined lines in the order of drawing."""
Parser = Callable[[bytes], str]


def others(limits: Limits) -> Iterator[tuple[str, Parser]]:
    """The parsers that ours is compared with, by name; a line says which library is not installed."""
    shown = subprocess.run(
        ["git", "show", f"{BEFORE}:deployments/ingestion/parsers/pdf.py"], capture_output=True, text=True
    )
    if shown.returncode == 0:
        before = types.ModuleType("pdf_before")
        sys.modules["pdf_before"] = before  # its dataclasses look their module up
        exec(compile(shown.stdout, "pdf_before.py", "exec"), before.__dict__)
        yield "before", lambda data: str(before.parse_pdf(data, limits).text)
    for name, library in (("pdfplumber", plumber), ("pdfminer", miner), ("pdf_oxide", oxide), ("pypdf", pypdf)):
        try:
            yield name, library()
        except ImportError:
            print(f"{name}: not installed", flush=True)


def plumber() -> Parser:
    """pdfplumber's text, and each table that it finds once more as rows."""
    pdfplumber = importlib.import_module("pdfplumber")

    def parse(data: bytes) -> str:
        parts = []
        with pdfplumber.open(io.BytesIO(data)) as document:
            for page in document.pages:
                tables = page.find_tables()
                outside = page
                for table in tables:
                    outside = outside.outside_bbox(table.bbox)
                parts.append(outside.extract_text())
                rows = (row for table in tables for row in table.extract())
                parts += [" ".join(" ".join((cell or "").split()) for cell in row) for row in rows]
        return "\n".join(parts)

    return parse


def miner() -> Parser:
    """pdfminer.six, with its analysis of the layout."""
    extract_text = importlib.import_module("pdfminer.high_level").extract_text
    return lambda data: str(extract_text(io.BytesIO(data)))


def oxide() -> Parser:
    """pdf_oxide's Markdown."""
    library = importlib.import_module("pdf_oxide")
    return lambda data: str(library.PdfDocument.from_bytes(data).to_markdown_all())


def pypdf() -> Parser:
    """pypdf, in its mode that keeps the layout."""
    library = importlib.import_module("pypdf")

    def parse(data: bytes) -> str:
        reader = library.PdfReader(io.BytesIO(data))
        return "\n".join(page.extract_text(extraction_mode="layout") for page in reader.pages)

    return parse
