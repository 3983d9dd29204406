from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rag.cli.errors import CliError
from rag.cli.service_file import RunningService, owned

HERE = RunningService("http://127.0.0.1:8000", "/var/key", os.getpid(), "/tmp/rag-x")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    HERE.write(tmp_path)
    assert RunningService.read(tmp_path) == HERE
    assert HERE.alive()
    assert {path.name for path in tmp_path.iterdir()} == {"service.json"}


def test_a_data_folder_is_made_and_held_by_one_service(tmp_path: Path) -> None:
    folder = tmp_path / "new/var"
    with owned(folder):
        with pytest.raises(CliError, match="is in use by a service that runs; stop that one"), owned(folder):
            pass
        HERE.write(folder)
        with pytest.raises(CliError, match=r"that runs at http://127.0.0.1:8000 \(process "), owned(folder):
            pass
        assert RunningService.read(folder) == HERE
    assert RunningService.read(folder) is None
    with owned(folder):
        pass


def test_what_a_killed_service_left_is_removed(tmp_path: Path) -> None:
    ray_folder = tmp_path / "rag-left"
    (ray_folder / "session").mkdir(parents=True)
    RunningService("http://x", None, 1, str(ray_folder)).write(tmp_path)
    with owned(tmp_path):
        assert not ray_folder.exists()
        assert not (tmp_path / "service.json").exists()


def test_no_other_folder_is_ever_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "service.json").write_text(
        json.dumps({"url": "x", "key_file": None, "pid": 1, "ray_folder": str(precious)})
    )
    with owned(tmp_path):
        assert precious.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match="cannot be used as the data folder"), owned(tmp_path / "file" / "var"):
        pass
