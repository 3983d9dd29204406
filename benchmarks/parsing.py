"""How much of documents whose text is known the parsers give, and in which order. How long given files take.

PDFs are compared with the parser before ours, which joined lines in the order of drawing, and with those of pdfplumber,
pdfminer.six, pdf_oxide and pypdf that are installed. Chromium and LibreOffice print some of them, where they are.

`word_recall`: words found, of all. `order`: the longest common subsequence of words, of the longer of both texts; so
text that is given twice, and running heads, count against it. `rows_whole`: rows of tables that are one line by
themselves. `headings_f1`: headings found as such.

`office_word_recall`, `office_word_precision`: of DOCX, XLSX, PPTX, e-mail, HTML and EPUB, words found of all, and words
of the text that a person sees too. With `--data FOLDER …`: `slowest_s` and `largest_mb` of the files in those folders.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import files, office
from benchmarks.office import measure as office_measure
from benchmarks.pdfs import with_fpdf, with_reportlab, with_typst
from benchmarks.pdfs.measure import figures_of
from benchmarks.pdfs.others import Parser, others
from benchmarks.pdfs.truth import Truth
from benchmarks.pdfs.with_programs import printed
from benchmarks.service import report
from deployments.errors import BadInput
from deployments.ingestion.parsers import parse
from deployments.ingestion.parsers.limits import Limits
from deployments.ingestion.parsers.pdf import parse_pdf

LIMITS = Limits(text_characters=10_000_000, inflation=1000, pages=10_000)
SEEDS = 3
HALVES = ("pdf", "office")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--verbose", action="store_true", help="print each kind's figures, and words that are missing"
    )
    arguments.add_argument("--first-seed", type=int, default=0, help="multiple of 90 for other texts in the same kinds")
    arguments.add_argument("--alone", action="store_true", help="measure our PDF parser only, and no other")
    arguments.add_argument("--keep", type=Path, help="write the documents to this folder")
    arguments.add_argument("--only", choices=HALVES, nargs="*", default=HALVES, help="the generated documents to read")
    arguments.add_argument("--data", type=Path, nargs="*", default=[], help="folders whose files are timed")
    options = arguments.parse_args()
    figures: dict[str, Any] = {}
    if "pdf" in options.only:
        figures |= pdf_figures(options)
    if "office" in options.only:
        documents = [*office.documents()]
        keep(options.keep, ((f"{each.name}.{each.kind}", each.data) for each in documents))
        found = office_measure.figures(documents, text_of, verbose=options.verbose)
        print(json.dumps(found), flush=True)
        figures |= found
    if options.data:
        figures |= files.figures(options.data)
    report(figures)


def pdf_figures(options: argparse.Namespace) -> dict[str, Any]:
    documents = [*made(options.first_seed)]
    keep(options.keep, ((f"{number:03}-{each.name}.pdf", each.data) for number, each in enumerate(documents)))
    print(f"{len(documents)} PDFs", flush=True)
    figures: dict[str, Any] = {"files": len(documents)}
    figures |= measured("ours", lambda data: parse_pdf(data, LIMITS).text, documents, verbose=options.verbose)
    if not options.alone:
        for name, parser in others(LIMITS):
            figures[name] = measured(name, parser, documents)
    return figures


def made(first_seed: int) -> Iterator[Truth]:
    """The PDFs: of each kind a few, the same in each run with the same seed."""
    for writer in (with_fpdf, with_reportlab, with_typst):
        for number, kind in enumerate(writer.KINDS):
            for seed in range(SEEDS):
                yield kind(first_seed + SEEDS * number + seed)
    yield from printed(first_seed, SEEDS)


def keep(folder: Path | None, documents: Iterator[tuple[str, bytes]]) -> None:
    """Write documents, each as (name, bytes)."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in documents:
            (folder / name).write_bytes(data)


def measured(name: str, parser: Parser, documents: Sequence[Truth], *, verbose: bool = False) -> dict[str, float]:
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
    found["pages_s"] = round(sum(map(pages, documents)) / seconds, 1)
    print(f"{name}: {json.dumps(found)}", flush=True)
    return found


def pages(truth: Truth) -> int:
    pdfium = importlib.import_module("pypdfium2")
    with pdfium.PdfDocument(truth.data) as document:
        return len(document)


def text_of(data: bytes, filename: str) -> str:
    """The text of an office document; empty for one that is refused."""
    try:
        return parse(data, filename, "", LIMITS).text
    except BadInput as error:
        print(f"  {filename}: {error.message}", flush=True)
        return ""


if __name__ == "__main__":
    main()
