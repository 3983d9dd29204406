from __future__ import annotations

from typing import Any

import pytest

MODE = ["--mode service", "--mode=service", "bridge"]


@pytest.mark.parametrize("spelled", MODE)
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("--url nonsense", "--url 'nonsense' is not an address like http://127.0.0.1:8000"),
        ("--url http://x --key č", "check --key"),
        ("--socket a --listen-http b", "exclude each other"),
        ("--framing words", "--framing"),
        ("--max-frame-bytes 8191", "--max-frame-bytes"),
        ("--max-in-flight 0", "--max-in-flight"),
    ],
)
def test_wrong_options_are_told_before_anything_starts(rag: Any, spelled: str, wrong: str, told: str) -> None:
    result = rag(*spelled.split(), *wrong.split(), url=None)
    assert result.exit_code in (1, 2)
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("spelled", MODE)
def test_every_spelling_has_the_same_options(rag: Any, spelled: str) -> None:
    result = rag(*spelled.split(), "--help", url=None)
    assert result.exit_code == 0
    for option in ("--framing", "--socket", "--listen-http", "--max-frame-bytes", "--max-in-flight", "--url", "--key"):
        assert option in result.stdout


def test_nothing_is_still_help_and_there_is_no_other_mode(rag: Any) -> None:
    assert "Ask questions of your own documents." in rag(url=None).output
    assert "No such option: --mode" in rag("--mode", "other", url=None).stderr
