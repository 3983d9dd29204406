"""Config files to change, and the problems that `rag config check` finds in them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from serve_app.config.file import load
from serve_app.config.problems import ConfigError
from tests.support.config_files import ROOT, Raw, Refused


@pytest.fixture(scope="module", name="shipped")
def _shipped() -> dict[str, Raw]:
    return {name: load(ROOT / name).raw for name in ("cluster/local.yaml", "serve_config.yaml")}


@pytest.fixture(name="local")
def _local(shipped: dict[str, Raw]) -> Raw:
    return copy.deepcopy(shipped["cluster/local.yaml"])


@pytest.fixture(name="production")
def _production(shipped: dict[str, Raw]) -> Raw:
    return copy.deepcopy(shipped["serve_config.yaml"])


@pytest.fixture(name="refused")
def _refused(tmp_path: Path) -> Refused:
    """The problems of a config; fails the test if there are none."""

    def check(raw: Raw) -> list[str]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(raw, allow_unicode=True))
        with pytest.raises(ConfigError) as error:
            load(path)
        assert str(error.value) == "\n".join(error.value.problems)
        return error.value.problems

    return check
