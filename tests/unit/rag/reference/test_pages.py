"""The generated pages are those of this code, and they leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

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
            assert configuration.unit(name, field), f"{path}.{name} has no unit"


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
