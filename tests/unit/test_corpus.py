"""The documents that ship with the project: they are what a newcomer's first answers rest on, so they must be true."""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer.main

from deployments.ingestion.config import IngestionConfig
from rag.cli.main import app
from serve_app.api.app import create_app
from serve_app.config.args import ApiConfig

CORPUS = Path(str(importlib.resources.files("corpus")))
DOCUMENTS = sorted(CORPUS.glob("*/*.md"))
by_name = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")


def test_half_is_croatian_and_half_english() -> None:
    languages = [path.parent.name for path in DOCUMENTS]
    assert languages.count("hr") == languages.count("en") >= 5
    assert set(languages) == {"hr", "en"}


@by_name
def test_is_short_titled_markdown_in_composed_unicode(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# \S.*\n\n", text)
    assert 150 <= len(text.split()) <= 350
    assert unicodedata.is_normalized("NFC", text)
    letters = [character for character in text if character.isalpha()]
    assert {unicodedata.name(letter).split()[0] for letter in letters} == {"LATIN"}  # no look-alikes of another script


@by_name
def test_language_is_that_of_its_folder(path: Path) -> None:
    words = re.findall(r"\w+", path.read_text(encoding="utf-8").lower())
    croatian = sum(word in {"je", "se", "koji", "nije", "može", "kad", "iz", "za"} for word in words)
    english = sum(word in {"the", "is", "are", "of", "which", "not", "can", "when"} for word in words)
    assert (croatian > 3 * english) if path.parent.name == "hr" else (english > 3 * croatian)


def test_the_first_question_of_a_newcomer_has_one_clear_answer() -> None:
    answer = "Dokumenti se čuvaju dok ih vlasnik ne izbriše; nema roka nakon kojeg se sami brišu."
    holders = [path for path in DOCUMENTS if answer in path.read_text(encoding="utf-8")]
    assert [path.name for path in holders] == ["cuvanje-i-brisanje.md"]
    assert holders[0].read_text(encoding="utf-8").startswith("# Koliko dugo se čuvaju dokumenti\n")


@by_name
def test_names_only_commands_that_exist(path: Path) -> None:
    root = cast(Any, typer.main.get_command(app))
    for command in re.findall(r"(?:`|/bin/)rag ([a-z]+(?: [a-z]+)*)", path.read_text(encoding="utf-8")):
        name, *rest = command.split()
        found = root.get_command(None, name)
        assert found is not None, command
        below = getattr(found, "commands", None)
        assert below is None or rest[0] in below, command


@by_name
def test_names_only_calls_that_exist(path: Path) -> None:
    services = cast(Any, SimpleNamespace(config=ApiConfig()))
    paths = create_app(services).openapi()["paths"]
    calls = {(verb.upper(), re.sub(r"\{.*?\}", "{}", url)) for url, verbs in paths.items() for verb in verbs}
    for verb, url in re.findall(r"`(GET|POST|PATCH|DELETE) (/[^`]*)`", path.read_text(encoding="utf-8")):
        assert (verb, re.sub(r"\{.*?\}", "{}", url)) in calls


def test_limits_are_those_of_the_configuration() -> None:
    api, ingestion = ApiConfig(), IngestionConfig()
    limits = (CORPUS / "hr" / "ogranicenja.md").read_text(encoding="utf-8")
    for statement in (
        f"od 1 do {api.max_query_characters} znakova",
        f"do {api.max_filter_bytes // 1024} KiB i pet razina",
        f"koristi {api.top_k} odlomaka, a može ih se zatražiti do {api.max_top_k}",
        f"najviše {api.max_tokens} tokena, a može ih se zatražiti do {api.max_max_tokens}",
        f"za {api.deadline_s:g} sekundi, a rok se može produljiti do {api.max_deadline_s:g}",
        f"do {api.max_body_bytes // 2**20} MiB",
        f"do {api.max_files} datoteka",
        f"do {api.max_metadata_bytes // 1024} KiB",
        f"do {ingestion.max_pages} stranica",
        f"trajati {ingestion.parse_timeout_s:g} sekundi i zauzeti {ingestion.parse_memory_mb // 1024} GiB",
    ):
        assert statement in limits
    assert (api.max_filter_depth, ingestion.max_inflation) == (5, 100)  # written in words there
    entry = (CORPUS / "hr" / "unos-dokumenata.md").read_text(encoding="utf-8")
    assert f"najviše {ingestion.chunk_tokens} jedinica" in entry
    assert f"preklapanjem od {ingestion.chunk_overlap} jedinice" in entry
    search = (CORPUS / "en" / "search-and-filters.md").read_text(encoding="utf-8")
    assert f"up to {api.candidates} candidates" in search
    assert f"best {api.top_k} remain; `top_k` asks for up to {api.max_top_k}" in search
