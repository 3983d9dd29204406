from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import session_logs
from cluster.session_logs import FOLDER, OUTPUT, keep, output_of_session


def node_with(folder: Path, **files: bytes) -> Path:
    """A node's folder with log files, in the order in which they were written."""
    for age, (name, content) in enumerate(reversed(files.items())):
        path = folder / "session_latest/logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_000_000 - age,) * 2)
    return folder


def sessions(data_dir: Path) -> list[Path]:
    return sorted((data_dir / FOLDER).iterdir())


def test_a_session_s_logs_stay_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    with output_of_session(tmp_path) as output:
        print("a worker died", file=output)
        node = node_with(tmp_path / "node", raylet=b"r", empty=b"")
        (node / "session_latest/logs/serve").mkdir()
        (node / "session_latest/logs/serve/replica.log").write_bytes(b"s")
        (node / "session_latest/logs/link.log").symlink_to("/etc/hostname")
        keep(node, tmp_path)
    [kept] = sessions(tmp_path)
    found = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert found == {OUTPUT, "raylet.log", "serve/replica.log"}
    assert (kept / OUTPUT).read_text() == "a worker died\n"
    assert kept.stat().st_mode & 0o777 == 0o700


def test_nothing_is_kept_of_a_session_without_logs(tmp_path: Path) -> None:
    with output_of_session(tmp_path):
        keep(tmp_path / "no-node", tmp_path)
    assert sessions(tmp_path) == []
    keep(node_with(tmp_path / "node", raylet=b"r"), tmp_path)


def test_the_last_five_sessions_stay(tmp_path: Path) -> None:
    for day in range(10, 20):
        (tmp_path / FOLDER / f"2026-01-{day}T00-00-00Z").mkdir(parents=True)
    with output_of_session(tmp_path) as output:
        output.write("x")
    assert len(sessions(tmp_path)) == session_logs.SESSIONS_KEPT == 5
    assert [path.name[:10] for path in sessions(tmp_path)][:4] == [f"2026-01-{day}" for day in range(16, 20)]


def test_a_session_is_logged_although_the_clock_was_set_back(tmp_path: Path) -> None:
    for day in range(10, 20):
        (tmp_path / FOLDER / f"2126-01-{day}T00-00-00Z").mkdir(parents=True)
    with output_of_session(tmp_path) as output:
        output.write("x")
    assert len(sessions(tmp_path)) == session_logs.SESSIONS_KEPT
    assert (sessions(tmp_path)[0] / OUTPUT).read_text() == "x"


def test_of_long_logs_the_ends_are_kept_and_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_logs, "FILE_BYTES", 4)
    monkeypatch.setattr(session_logs, "SESSION_BYTES", 10)
    with output_of_session(tmp_path) as output:
        output.write("x")
        keep(node_with(tmp_path / "node", oldest=b"oldest", c=b"1234567", b=b"ab", a=b"abcdefg"), tmp_path)
    [kept] = sessions(tmp_path)
    found = {path.name: path.read_bytes() for path in kept.glob("*.log") if path.name != OUTPUT}
    assert found == {"a.log": b"defg", "b.log": b"ab", "c.log": b"4567"}
