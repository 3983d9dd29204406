from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import Request

from rag.cli import ingest
from rag.cli.errors import CliError
from rag.cli.ingest import Batch
from rag.cli.local_files import LocalFile, find

Problem = Callable[..., httpx.Response]


class Documents:
    """The documents' part of the service: reads uploads as the service does. A job is done when it is looked at for the
    `looks`th time."""

    def __init__(self, service: Any) -> None:
        self.uploads: list[dict[str, bytes]] = []
        self.types: dict[str, str] = {}
        self.fields: list[dict[str, str]] = []
        self.refuse: dict[str, httpx.Response] = {}
        self.fail: dict[str, str] = {}
        self.warn: dict[str, list[str]] = {}
        self.bulk: dict[str, str | None] | None = None
        self.looks = 2
        self._service = service
        service["POST /v1/documents"] = self._accept

    def _accept(self, request: httpx.Request) -> httpx.Response:
        files, fields = asyncio.run(self._read(request))
        for name in files:
            if name in self.refuse:
                return self.refuse[name]
        self.uploads.append(files)
        self.fields.append(fields)
        job = f"job_{len(self.uploads)}"
        documents = [{"id": f"id:{name}", "filename": name} for name in files]
        looks = iter(["running"] * (self.looks - 1) + ["done"])
        self._service[f"GET /v1/jobs/{job}"] = lambda _: self._view(job, list(files), next(looks))
        return httpx.Response(202, json={"job_id": job, "document_id": None, "documents": documents})

    async def _read(self, request: httpx.Request) -> tuple[dict[str, bytes], dict[str, str]]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.content}

        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
        form = await Request({"type": "http", "headers": headers}, receive).form()
        files, fields = {}, {}
        for name, part in form.multi_items():
            if isinstance(part, UploadFile):
                assert name == "files"
                files[str(part.filename)] = await part.read()
                self.types[str(part.filename)] = str(part.content_type)
            else:
                fields[name] = str(part)
        await form.close()
        return files, fields

    def _view(self, job: str, names: Iterable[str], look: str) -> httpx.Response:
        states = {
            name: "queued" if look == "running" else "failed" if name in self.fail else "indexed" for name in names
        }
        counts = dict.fromkeys(["queued", "parsing", "embedding", "indexed", "failed", "cancelled"], 0)
        for state in states.values():
            counts[state] += 1
        documents = [
            {
                "id": f"id:{name}",
                "state": state,
                "warnings": self.warn.get(name, []),
                "error": {"code": "x", "detail": self.fail[name]} if state == "failed" else None,
            }
            for name, state in states.items()
        ]
        state = "running" if look == "running" else "partial" if self.fail else "succeeded"
        return httpx.Response(
            200, json={"id": job, "state": state, "counts": counts, "documents": documents, "bulk": self.bulk}
        )


@pytest.fixture(name="documents")
def _documents(service: Any, waits: list[float]) -> Documents:
    return Documents(service)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a tree of files."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "bilješke/čaj.md": "# Čaj",
        "bilješke/sub/b.TXT": "b",
        "bilješke/sub/c.html": "<p>c</p>",
        "bilješke/slika.png": "png",
        "bilješke/.git/config.txt": "hidden",
        "bilješke/.skriveno.md": "hidden",
        "d.docx": "docx",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_folders_are_read_with_everything_below_them(documents: Documents, rag: Any, folder: Path) -> None:
    result = rag("ingest", "bilješke", "d.docx")
    assert result.exit_code == 0, result.output
    assert documents.uploads == [
        {
            "bilješke/čaj.md": "# Čaj".encode(),
            "bilješke/sub/b.TXT": b"b",
            "bilješke/sub/c.html": b"<p>c</p>",
            "d.docx": b"docx",
        }
    ]
    assert documents.types["bilješke/čaj.md"] == "text/markdown"
    assert documents.types["bilješke/sub/b.TXT"] == "text/plain"
    assert documents.fields == [{}]
    assert "4 documents indexed." in result.stdout
    assert "Skipped" in result.stdout
    assert "  bilješke/slika.png\n" in result.stdout
    assert "skriveno" not in result.stdout
    assert "config.txt" not in result.stdout


def test_a_file_has_the_same_name_however_it_is_given(documents: Documents, rag: Any, folder: Path) -> None:
    for path in ("bilješke/čaj.md", "./bilješke/../bilješke/čaj.md", str(folder / "bilješke/čaj.md")):
        assert rag("ingest", path).exit_code == 0
    assert [list(upload) for upload in documents.uploads] == [["bilješke/čaj.md"]] * 3


def test_from_elsewhere_names_begin_at_what_was_given(
    documents: Documents, rag: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "bilješke/sub")
    rag("ingest", str(folder / "bilješke"))
    rag("ingest", "../čaj.md")
    assert [list(upload) for upload in documents.uploads] == [
        ["bilješke/čaj.md", "bilješke/sub/b.TXT", "bilješke/sub/c.html"],
        ["čaj.md"],
    ]


def test_a_file_named_twice_is_sent_once(documents: Documents, rag: Any, folder: Path) -> None:
    rag("ingest", "bilješke/čaj.md", "bilješke/čaj.md", "bilješke")
    assert list(documents.uploads[0]) == ["bilješke/čaj.md", "bilješke/sub/b.TXT", "bilješke/sub/c.html"]


def test_two_files_never_share_a_name(
    documents: Documents, rag: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other").mkdir()
    (folder / "other/čaj.md").write_text("another")
    monkeypatch.chdir(folder / "bilješke/sub")
    result = rag("ingest", "../čaj.md", "../../other/čaj.md")
    assert result.exit_code == 1
    assert "would both be the document čaj.md" in result.stderr
    assert documents.uploads == []


def test_options_hold_for_every_file(documents: Documents, rag: Any, folder: Path) -> None:
    options = ["--collection", "zakoni", "--language", "hr", "--user", "u1"]
    metadata = ["godina=2018", "vrsta=zakon", "novo=true", 'oznaka="1"', "broj=0x1", "a=b=c", "popis=[1]"]
    result = rag("ingest", "d.docx", *options, *[part for pair in metadata for part in ("--metadata", pair)])
    assert result.exit_code == 0, result.output
    (fields,) = documents.fields
    assert json.loads(fields.pop("metadata")) == {
        "godina": 2018, "vrsta": "zakon", "novo": True, "oznaka": '"1"', "broj": "0x1", "a": "b=c", "popis": "[1]",
    }  # fmt: skip
    assert fields == {"collection": "zakoni", "language": "hr", "user": "u1"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.md"], "missing.md does not exist"),
        (["bilješke/slika.png"], "nothing to ingest"),
        (["d.docx", "--metadata", "godina"], "'godina' is not KEY=VALUE"),
        (["d.docx", "--metadata", "=2018"], "is not KEY=VALUE"),
    ],
)
def test_what_cannot_be_ingested_is_said_before_anything_is_sent(
    documents: Documents, service: Any, rag: Any, folder: Path, arguments: list[str], told: str
) -> None:
    result = rag("ingest", *arguments)
    assert result.exit_code == 1
    assert told in result.stderr
    assert service.requests == []


def test_a_language_that_the_service_does_not_have_is_a_usage_error(rag: Any, folder: Path) -> None:
    assert rag("ingest", "d.docx", "--language", "de").exit_code == 2


def test_requests_are_bounded(documents: Documents, rag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BATCH", Batch(files=3, size=10))
    monkeypatch.chdir(tmp_path)
    for name, size in {"a.md": 4, "b.md": 6, "c.md": 1, "d.md": 50, "e.md": 1, "f.md": 1, "g.md": 1, "h.md": 1}.items():
        (tmp_path / name).write_text("x" * size)
    result = rag("ingest", ".")
    assert result.exit_code == 0, result.output
    assert [sorted(upload) for upload in documents.uploads] == [
        ["a.md", "b.md"],
        ["c.md"],
        ["d.md"],
        ["e.md", "f.md", "g.md"],
        ["h.md"],
    ]
    assert "8 documents indexed." in result.stdout


def test_failures_are_listed_with_their_reasons(documents: Documents, rag: Any, folder: Path, problem: Problem) -> None:
    """One file is refused at once, one fails in its job, one cannot be read; the others are indexed."""
    documents.refuse["bilješke/sub/b.TXT"] = problem(415, "Unsupported document", "b is not text")
    documents.fail["bilješke/sub/c.html"] = "[red]no text in it"
    os.symlink(folder / "bilješke/nowhere", folder / "bilješke/z.md")
    result = rag("ingest", "bilješke", "d.docx")
    assert result.exit_code == 1
    assert told_of_failures(result.stdout) == [
        "3 of 5 failed:",
        "bilješke/z.md",
        "    cannot be read: No such file or directory",
        "bilješke/sub/b.TXT",
        "    Unsupported document: b is not text",
        "bilješke/sub/c.html",
        "    [red]no text in it",
    ]
    indexed = {name for upload in documents.uploads for name in upload}
    assert indexed == {"bilješke/čaj.md", "bilješke/sub/c.html", "d.docx"}


def told_of_failures(output: str) -> list[str]:
    lines = [line.rstrip() for line in output.splitlines()]
    return lines[next(number for number, line in enumerate(lines) if line.endswith("failed:")) :]


def test_a_remedy_that_several_failures_share_is_said_once(
    documents: Documents, rag: Any, folder: Path, problem: Problem
) -> None:
    documents.fail["bilješke/sub/c.html"] = "it is binary; supported are Markdown, PDF"
    documents.fail["bilješke/čaj.md"] = "it is empty; [nothing] is read; supported are Markdown, PDF"
    documents.fail["d.docx"] = "it is broken; save it again"
    assert told_of_failures(rag("ingest", "bilješke", "d.docx").stdout) == [
        "3 of 4 failed:",
        "bilješke/čaj.md",
        "    it is empty; [nothing] is read",
        "bilješke/sub/c.html",
        "    it is binary",
        "d.docx",
        "    it is broken; save it again",
        "For several of these: supported are Markdown, PDF",
    ]


def test_reasons_are_broken_between_words_only(
    documents: Documents, rag: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "the document is named as text but its content is a spreadsheet of an old format"
    documents.fail["d.docx"] = reason
    monkeypatch.setenv("COLUMNS", "30")
    lines = told_of_failures(rag("ingest", "d.docx").stdout)
    assert " ".join(line.strip() for line in lines[2:]) == reason


def test_links_out_of_the_folder_are_not_followed(documents: Documents, rag: Any, folder: Path) -> None:
    """One to a file and one to a folder elsewhere; one to a file of the folder itself, and one of a folder of it."""
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/secret.md").write_text("secret")
    os.symlink(folder / "elsewhere/secret.md", folder / "bilješke/a.md")
    os.symlink(folder / "elsewhere", folder / "bilješke/out")
    os.symlink(folder / "bilješke/čaj.md", folder / "bilješke/inside.md")
    os.symlink(folder / "bilješke/sub", folder / "bilješke/again")
    result = rag("ingest", "bilješke")
    assert result.exit_code == 0, result.output
    assert list(documents.uploads[0]) == [
        "bilješke/inside.md", "bilješke/čaj.md", "bilješke/sub/b.TXT", "bilješke/sub/c.html",
    ]  # fmt: skip
    skipped = result.stdout.partition("links that lead out of the folder; name their targets to send them:\n")[2]
    assert skipped.splitlines()[:2] == ["  bilješke/a.md", "  bilješke/out"]
    assert "again" not in result.stdout
    (folder / "linked").symlink_to(folder / "elsewhere")
    assert rag("ingest", "linked").exit_code == 0, "what is given itself is followed"
    assert list(documents.uploads[1]) == ["elsewhere/secret.md"]


@pytest.mark.timeout(20)
def test_what_is_no_file_is_skipped_and_never_opened(documents: Documents, rag: Any, folder: Path) -> None:
    os.mkfifo(folder / "bilješke/pipe.md")
    os.symlink("pipe.md", folder / "bilješke/to-pipe.md")
    result = rag("ingest", "bilješke")
    assert result.exit_code == 0, result.output
    assert (
        "Skipped, no files but pipes, sockets or devices:\n  bilješke/pipe.md\n  bilješke/to-pipe.md\n" in result.stdout
    )
    assert "pipe" not in str(list(documents.uploads[0]))
    alone = rag("ingest", "bilješke/pipe.md")
    assert (alone.exit_code, len(documents.uploads)) == (1, 1)


@pytest.mark.parametrize(
    ("status", "title"), [(401, "Missing or unknown key"), (403, "Not allowed"), (500, "Internal")]
)
def test_a_refusal_that_holds_for_all_files_ends_the_command(
    service: Any, rag: Any, folder: Path, problem: Problem, status: int, title: str
) -> None:
    service["POST /v1/documents"] = problem(status, title, "no")
    result = rag("ingest", "bilješke")
    assert result.exit_code == 1
    assert f"Error: {title}: no" in result.stderr
    assert len(service.requests) == 1


def test_a_service_that_goes_away_while_it_indexes(documents: Documents, service: Any, rag: Any, folder: Path) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    accept = service.answers["POST", "/v1/documents"]

    def accept_and_go(request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = accept(request)
        service["GET /v1/jobs/job_1"] = gone
        return answer

    service["POST /v1/documents"] = accept_and_go
    result = rag("ingest", "d.docx")
    assert result.exit_code == 1
    assert "no service answers" in result.stderr


def test_what_was_left_out_of_documents_is_told(rag: Any, documents: Documents, folder: Path) -> None:
    documents.warn = {"d.docx": ["1 chart", "2 pictures without text"]}
    result = rag("ingest", "bilješke", "d.docx")
    assert result.exit_code == 0, result.output
    assert "Left out:\n  d.docx: 1 chart, 2 pictures without text\n" in result.stdout
    assert "Left out" not in rag("ingest", "bilješke").stdout


def test_many_skipped_files_are_counted(rag: Any, documents: Documents, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text("a")
    for number in range(25):
        (tmp_path / f"{number:02}.bin").write_text("x")
    assert "and 5 more" in rag("ingest", ".").stdout


def test_progress_counts_only_upwards_to_the_whole(documents: Documents, service: Any, folder: Path) -> None:
    from rag.cli.service import Service

    files = find([Path("bilješke"), Path("d.docx")]).files
    sent: list[int] = []
    done: list[int] = []
    with Service("http://service.test", None, httpx.MockTransport(service.handle)) as connected:
        assert ingest.send(connected, files, {}, on_sent=sent.append, on_done=done.append) == []
    assert (sent, done) == ([4], [0, 4])


def test_polls_stay_few_while_many_jobs_wait(
    documents: Documents, service: Any, waits: list[float], tmp_path: Path
) -> None:
    from rag.cli.service import Service

    documents.looks = 20
    files = []
    for number in range(12):
        path = tmp_path / f"{number}.md"
        path.write_text("text")
        files.append(LocalFile(path, path.name))
    with Service("http://service.test", None, httpx.MockTransport(service.handle)) as connected:
        assert ingest.send(connected, files, {}, batch=Batch(1, 1000)) == []
    polls = [request.url.path for request in service.requests if request.method == "GET"]
    assert len(polls) <= 12 * documents.looks
    assert set(polls[: ingest.JOBS_POLLED * 5]) == {
        f"/v1/jobs/job_{1 + number}" for number in range(ingest.JOBS_POLLED)
    }
    assert waits[0] < waits[10] <= max(waits) == ingest.MAX_POLL_S
    assert waits[19] == ingest.POLL_S  # a job has ended


def test_in_bulk_a_request_brings_as_much_as_it_may(
    documents: Documents, rag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents.bulk = {"ray_job": "ingest-t-job_1", "state": "ended", "detail": None}
    monkeypatch.chdir(tmp_path)
    for number in range(120):
        (tmp_path / f"{number}.md").write_text("x")
    result = rag("ingest", ".", "--bulk")
    assert result.exit_code == 0, result.output
    assert [len(upload) for upload in documents.uploads] == [120]
    assert documents.fields == [{"bulk": "true"}]
    assert "Ray Job ingest-t-job_1\n" in result.stdout


def test_a_ray_job_that_could_not_be_submitted_is_told_of(documents: Documents, rag: Any, folder: Path) -> None:
    documents.bulk = {"ray_job": "ingest-t-job_1", "state": "ended", "detail": "no dashboard"}
    result = rag("ingest", "d.docx", "--bulk")
    assert "no dashboard; the workers went on" in result.stdout


def test_metadata_needs_a_name() -> None:
    with pytest.raises(CliError):
        ingest.parse_metadata(["=x"])


def test_files_that_find_no_room_are_sent_again(
    rag: Any, service: Any, documents: Documents, folder: Path, problem: Problem, waits: list[float]
) -> None:
    accept = service.answers["POST", "/v1/documents"]
    answers = iter([problem(429, "Over the tenant's limit or share", "too many wait", **{"Retry-After": "7"})] * 2)
    service["POST /v1/documents"] = lambda request: next(answers, None) or accept(request)
    result = rag("ingest", "d.docx")
    assert result.exit_code == 0, result.output
    assert [list(upload) for upload in documents.uploads] == [["d.docx"]]
    assert waits[:2] == [7.0, 7.0]


def test_a_service_that_never_has_room_ends_the_command(
    rag: Any, service: Any, documents: Documents, folder: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_ROOM_S", 0.0)
    service["POST /v1/documents"] = problem(429, "Over the tenant's limit or share", "too many wait")
    result = rag("ingest", "d.docx")
    assert result.exit_code == 1
    assert "too many wait" in result.output
