from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]


def test_good_files_are_said_to_be_good(rag: Any) -> None:
    files = [str(ROOT / "cluster/local.yaml"), str(ROOT / "serve_config.yaml")]
    result = rag("config", "check", *files, url=None)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{file}: ok" for file in files]


def test_every_problem_of_every_file_is_told(rag: Any, tmp_path: Path) -> None:
    good = str(ROOT / "cluster/local.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(good).read_text().replace("host:", "hots:").replace("num_replicas: 1", "num_replica: 1"))
    result = rag("config", "check", str(bad), str(tmp_path / "missing.yaml"), good, url=None)
    assert result.exit_code == 1
    assert result.stdout == f"{good}: ok\n"
    problems = result.stderr.splitlines()
    assert f"{bad}: http_options.hots: unknown key; did you mean host?" in problems
    assert f"{bad}: applications.0.deployments.ingress.num_replica: unknown key; did you mean num_replicas?" in problems
    assert problems[-1].startswith(f"{tmp_path}/missing.yaml: file: No such file")


def test_up_checks_its_file_first(rag: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("applications: 1\n")
    result = rag("up", "--config", str(tmp_path / "bad.yaml"), url=None)
    assert result.exit_code == 1
    assert "bad.yaml is refused:\n  applications: " in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.yaml"]
