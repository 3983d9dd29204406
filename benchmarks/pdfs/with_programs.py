"""PDFs that programs of this machine print: Chromium pages, and LibreOffice Word documents."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pdfs import pages
from benchmarks.pdfs.truth import Truth

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_OFFICES = ("soffice", "libreoffice")
_TIMEOUT_S = 120


def printed(first_seed: int, seeds: int) -> Iterator[Truth]:
    """The PDFs of each program that is installed; a line says which is not."""
    if browser := _found(_BROWSERS):
        yield from _by_browser(browser, first_seed, seeds)
    if office := _found(_OFFICES):
        yield from _by_office(office, first_seed, seeds)


def _found(names: tuple[str, ...]) -> str | None:
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        print(f"{names[0]}: not installed, so its PDFs are left out", flush=True)
    return path


def _by_browser(browser: str, first_seed: int, seeds: int) -> Iterator[Truth]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.pdf"
        for page in pages.pages("chromium", first_seed, seeds):
            source.write_text(pages.html(page), encoding="utf-8")
            options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
            _run([browser, *options, "--no-pdf-header-footer", f"--print-to-pdf={target}", source.as_uri()])
            page.truth.data = target.read_bytes()
            target.unlink()
            yield page.truth


def _by_office(office: str, first_seed: int, seeds: int) -> Iterator[Truth]:
    made = [*pages.pages("libreoffice", first_seed, seeds)]
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder) / f"{number:02}.docx" for number in range(len(made))]
        for source, page in zip(sources, made, strict=True):
            source.write_bytes(pages.word(page))
        options = ["--headless", f"-env:UserInstallation=file://{folder}/profile", "--convert-to", "pdf"]
        _run([office, *options, "--outdir", folder, *map(str, sources)])
        for source, page in zip(sources, made, strict=True):
            page.truth.data = source.with_suffix(".pdf").read_bytes()
            yield page.truth


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with exit status {done.returncode}:\n{done.stderr[-2000:]}")
