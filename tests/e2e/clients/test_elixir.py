"""The Elixir client with real Elixir, by itself: against a server that misbehaves, and with the bridge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.elixir import RAG, mix, passed

pytestmark = pytest.mark.timeout(900)


def test_it_is_formatted(elixir_folder: Path) -> None:
    done = mix("format", "--check-formatted", folder=elixir_folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_compiles_for_production_without_a_warning_and_without_any_dependency(elixir_folder: Path) -> None:
    done = mix("compile", "--warnings-as-errors", folder=elixir_folder / "prod", MIX_ENV="prod")
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_itself_and_with_the_bridge(elixir_folder: Path) -> None:
    assert passed(mix("test", "--warnings-as-errors", folder=elixir_folder, RAG_TEST_BRIDGE=RAG)) > 100
