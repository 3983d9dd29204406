"""How much of PDFs whose text is known the parser gives, and in which order.

It is compared with the parser before it, which joined lines in the order of drawing. It is also compared with those of
pdfplumber, pdfminer.six, pdf_oxide and pypdf that are installed.

`word_recall`: words found, of all. `order`: the longest common subsequence of words, of the longer of both texts; so
text that is given twice, and running heads, count against it. `rows_whole`: rows of tables that are one line by
themselves. `headings_f1`: headings found as such.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.pdfs import with_fpdf, with_reportlab, with_typst
from benchmarks.pdfs.truth import Truth, tokens
from benchmarks.service import report
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf

BEFORE = "a172584"
"""The last commit with the parser that joined lines in the order of drawing."""
LIMITS = Limits(text_characters=10_000_000, inflation=1000, pages=10_000)
SEEDS = 3
Parser = Callable[[bytes], str]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--verbose", action="store_true", help="print each kind's figures")
    arguments.add_argument("--first-seed", type=int, default=0, help="multiple of 90 for other texts in the same kinds")
    arguments.add_argument("--alone", action="store_true", help="measure the parser only, and no other")
    arguments.add_argument("--keep", type=Path, help="write the PDFs to this folder")
    options = arguments.parse_args()
    documents = [*made(options.first_seed)]
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number, truth in enumerate(documents):
            (options.keep / f"{number:02}-{truth.name}.pdf").write_bytes(truth.data)
    print(f"{len(documents)} PDFs", flush=True)
    figures: dict[str, Any] = {"files": len(documents)}
    for name, parser in islice(parsers(), 1 if options.alone else None):
        found = measured(parser, documents, verbose=options.verbose and name == "ours")
        print(f"{name}: {json.dumps(found)}", flush=True)
        if name == "ours":
            figures |= found
        else:
            figures[name] = found
    report(figures)


def made(first_seed: int) -> Iterator[Truth]:
    """The PDFs: of each kind a few, the same in each run with the same seed."""
    for writer in (with_fpdf, with_reportlab, with_typst):
        for number, kind in enumerate(writer.KINDS):
            for seed in range(SEEDS):
                yield kind(first_seed + SEEDS * number + seed)


def measured(parser: Parser, documents: Sequence[Truth], *, verbose: bool) -> dict[str, float]:
    texts: list[str] = []
    began = time.perf_counter()
    for truth in documents:
        try:
            texts.append(parser(truth.data))
        except Exception as error:  # a library's own errors; the document counts as empty
            print(f"  {truth.name}: {type(error).__name__}: {error}", flush=True)
            texts.append("")
    seconds = time.perf_counter() - began
    if verbose:
        for kind in sorted({truth.name for truth in documents}):
            of_kind = [(truth, text) for truth, text in zip(documents, texts, strict=True) if truth.name == kind]
            print(f"  {kind}: {json.dumps(figures_of(of_kind))}", flush=True)
    found = figures_of([*zip(documents, texts, strict=True)])
    return {**found, "pages_s": round(sum(map(pages, documents)) / seconds, 1)}


def figures_of(documents: Sequence[tuple[Truth, str]]) -> dict[str, float]:
    words = recalled = rows = whole = 0
    orders: list[float] = []
    headings = [0, 0, 0]  # right, found, expected
    for truth, text in documents:
        found = tokens(text)
        words += len(truth.words)
        recalled += (Counter(truth.words) & Counter(found)).total()
        orders.append(common_subsequence(truth.words, found) / max(len(truth.words), len(found), 1))
        lines = Counter(" ".join(tokens(line)) for line in text.split("\n"))
        expected_rows = Counter(" ".join(row) for row in truth.rows)
        rows += expected_rows.total()
        whole += (expected_rows & lines).total()
        marked = Counter(" ".join(tokens(line)) for line in text.split("\n") if line.startswith("#"))
        expected = Counter(" ".join(heading) for heading in truth.headings)
        for number, counted in enumerate(((marked & expected), marked, expected)):
            headings[number] += counted.total()
    return {
        "word_recall": round(recalled / words, 4),
        "order": round(sum(orders) / len(orders), 4),
        "rows_whole": round(whole / rows, 4) if rows else 1.0,
        "headings_f1": round(2 * headings[0] / (headings[1] + headings[2]), 4) if headings[1] + headings[2] else 1.0,
    }


def common_subsequence(words: Sequence[str], found: Sequence[str]) -> int:
    """The length of the longest common subsequence. All rows of the usual table are one number, a bit a word."""
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << number
    everything = (1 << len(words)) - 1
    row = everything
    for word in found:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(words) - row.bit_count()


def pages(truth: Truth) -> int:
    pdfium = importlib.import_module("pypdfium2")
    with pdfium.PdfDocument(truth.data) as document:
        return len(document)


def parsers() -> Iterator[tuple[str, Parser]]:
    yield "ours", lambda data: parse_pdf(data, LIMITS).text
    shown = subprocess.run(
        ["git", "show", f"{BEFORE}:deployments/ingestion/parsers/pdf.py"], capture_output=True, text=True
    )
    if shown.returncode == 0:
        before = types.ModuleType("pdf_before")
        sys.modules["pdf_before"] = before  # its dataclasses look their module up
        exec(compile(shown.stdout, "pdf_before.py", "exec"), before.__dict__)
        yield "before", lambda data: str(before.parse_pdf(data, LIMITS).text)
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


if __name__ == "__main__":
    main()
