"""The generated pages are those of this code, and they leave nothing out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.config import Config
from rag.reference import configuration, http_api
from serve_app.api.app import openapi_document
from serve_app.config.args import AppArgs
from serve_app.platform.tenant_settings import Settings

DOCS = Path(__file__).parents[4] / "docs"
CLASSES = [*configuration.settings(AppArgs, "args"), *configuration.settings(Settings, "settings")]


def test_the_configuration_page_is_that_of_the_settings() -> None:
    assert (DOCS / "configuration.md").read_text("utf-8") == configuration.page(), "run `make reference`"


def test_the_page_of_the_http_api_is_that_of_the_openapi_document() -> None:
    assert (DOCS / "http-api.md").read_text("utf-8") == http_api.page(), "run `make reference`"


@pytest.mark.parametrize(("path", "model"), CLASSES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_setting_has_a_meaning_and_a_unit(path: str, model: type[Config]) -> None:
    assert model.__doc__
    for name, field in model.model_fields.items():
        if not configuration.is_group(field):
            assert field.description, f"{path}.{name} has no description"
            unit = configuration.unit(name, field)
            assert unit, f"{path}.{name} has no unit"
            assert unit == "days" or not name.endswith("_days")


def test_the_files_values_are_shown_where_they_are_not_the_defaults() -> None:
    rows = [line for line in configuration.page().splitlines() if line.startswith("| `embedding.")]
    assert "| `embedding.threads` | 0 | 2 | 4 |  |" in rows
    assert not any("`embedding.backend`" in row for row in rows), "all three have the default"


def test_an_example_of_a_body_has_the_fields_that_are_required() -> None:
    bodies = [
        (path, schema, http_api.example(schema))
        for path, item in openapi_document()["paths"].items()
        for operation in item.values()
        for schema in _schemas_of_bodies(operation)
    ]
    shown = [(path, example.keys(), schema.get("required", ())) for path, schema, example in bodies if example]
    assert len(shown) > 5
    assert [path for path, fields, required in shown if not fields >= {*required}] == []


def _schemas_of_bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        yield openapi_document()["components"]["schemas"][name] if name else content["schema"]


def test_events_that_do_not_come_together_are_told_apart() -> None:
    page = http_api.page()
    for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL):
        numbers = re.findall(r"^id: (\d+)$", block, re.MULTILINE)
        assert len(numbers) == len(set(numbers)), block
        assert not ("[DONE]" in block and '"error"' in block), block
    assert (page.count("If it fails, the last event is:"), page.count("If it fails, the last line is:")) == (4, 1)


def test_every_route_and_every_error_is_on_the_page() -> None:
    page, document = http_api.page(), openapi_document()
    for path, item in document["paths"].items():
        for method in item:
            assert f"\n### {method.upper()} {path}\n" in page
    for code in document["components"]["examples"]:
        assert f"| `{code}` |" in page


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = http_api.page()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {"-".join(re.sub(r"[^\w\s-]", "", heading).lower().split()) for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors
