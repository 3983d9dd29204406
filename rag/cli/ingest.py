"""`rag ingest`: files and folders → documents, in requests of a bounded size, followed until they are indexed."""

from __future__ import annotations

import json
import mimetypes
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from rag.cli.errors import CliError
from rag.cli.local_files import KINDS, LocalFile, find
from rag.cli.service import DATA_DIR, DataDir, Key, Language, Refused, Service, Url, connect, plain

MAX_LINES_SHOWN = 20
POLL_S = 0.3
MAX_POLL_S = 2.0
"""The pause between two polls grows to this while no job ends."""
JOBS_POLLED = 4
"""A tenant's jobs are worked on in their order, so only the first unfinished ones are asked for. Each answer lists all
documents of its job, which would cost the service more than indexing them if all jobs were asked for."""
MAX_ROOM_S = 3_600.0
"""How long to wait until the service takes more documents."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The most that one request carries. A file larger than `size` bytes is sent alone."""

    files: int
    size: int


BATCH = Batch(50, 16 * 1024 * 1024)
BULK_BATCH = Batch(1_000, 40 * 1024 * 1024)
"""As much as the service takes by default: each request is a Ray Job, which takes seconds to start."""


@dataclass(frozen=True, slots=True)
class Failed:
    name: str
    reason: str


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with everything below them.")],
    collection: Annotated[str | None, typer.Option(help="Collection to put the documents in.")] = None,
    language: Language = None,
    user: Annotated[str | None, typer.Option(help="Make the documents private to this user.")] = None,
    metadata: Annotated[list[str] | None, typer.Option("--metadata", help="KEY=VALUE, repeatable.")] = None,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Index the documents in Ray Jobs, which Ray's dashboard shows.")
    ] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Index documents: Markdown, text, HTML, PDF, Word, PowerPoint, Excel, EPUB, CSV and e-mail (.eml)."""
    fields = form_fields(
        collection=collection,
        language=language,
        user=user,
        bulk="true" if bulk else None,
        metadata=parse_metadata(metadata or []),
    )
    found = find(paths)
    console = Console()
    _show_list(console, f"Skipped, not understood ({', '.join(KINDS)} are)", found.unknown)
    _show_list(console, "Skipped, links that lead out of the folder; name their targets to send them", found.links)
    _show_list(console, "Skipped, no files but pipes, sockets or devices", found.special)
    if not found.files:
        raise CliError(f"nothing to ingest; understood are {', '.join(KINDS)}")
    with connect(context, url, key, data_dir) as service, progress_bars(console) as bars:
        total = len(found.files)
        warned: list[str] = []
        sent, done = bars.add_task("sent", total=total), bars.add_task("indexed", total=total)
        failures = send(
            service,
            found.files,
            fields,
            batch=BULK_BATCH if bulk else BATCH,
            on_sent=lambda count: bars.update(sent, completed=count),
            on_done=lambda count: bars.update(done, completed=count),
            on_ray_job=lambda job: _show_ray_job(bars.console, job),
            on_warnings=lambda name, warnings: warned.append(f"{name}: {', '.join(warnings)}"),
        )
    _show_list(console, "Left out", warned)
    if failures:
        _show_failures(console, failures, total)
        raise typer.Exit(1)
    console.print(f"{total} {'document' if total == 1 else 'documents'} indexed.")


def progress_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def parse_metadata(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs. A JSON number, true or false keeps its type; any other value is text."""
    metadata: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise CliError(f"--metadata {pair!r} is not KEY=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        metadata[name] = value if isinstance(value, bool | int | float) else text
    return metadata


def form_fields(*, metadata: Mapping[str, Any], **given: str | None) -> dict[str, str]:
    """The multipart fields beside the files."""
    fields = {name: value for name, value in given.items() if value is not None}
    return fields | ({"metadata": json.dumps(metadata, ensure_ascii=False)} if metadata else {})


def send(
    service: Service,
    files: Sequence[LocalFile],
    fields: Mapping[str, str],
    *,
    batch: Batch = BATCH,
    on_sent: Callable[[int], object] = lambda count: None,
    on_done: Callable[[int], object] = lambda count: None,
    on_ray_job: Callable[[Mapping[str, Any]], object] = lambda job: None,
    on_warnings: Callable[[str, Sequence[str]], object] = lambda name, warnings: None,
) -> list[Failed]:
    """Send files and follow their jobs to the end. Raises CliError if the service goes away or refuses the key.

    `on_ray_job` gets the outcome of each bulk job, `on_warnings` the name of a file and what was left out of it.
    """
    jobs: dict[str, dict[str, str]] = {}
    failures: list[Failed] = []
    sent = 0
    for files_and_bytes in _batches(files, batch, failures):
        _send_batch(service, files_and_bytes, fields, jobs, failures)
        sent += len(files_and_bytes)
        on_sent(sent)
    early = len(failures)
    finished: dict[str, int] = {}
    pause_s = POLL_S
    while jobs:
        unfinished = len(jobs)
        for job_id in list(jobs)[:JOBS_POLLED]:
            view = service.call("GET", f"/v1/jobs/{job_id}")
            counts = view["counts"]
            finished[job_id] = counts["indexed"] + counts["failed"] + counts["cancelled"]
            if view["state"] not in ("queued", "running"):
                names = jobs.pop(job_id)
                failures += _failures(view, names)
                for document in view["documents"]:
                    if document["warnings"]:
                        on_warnings(names.get(document["id"], document["id"]), document["warnings"])
                if view["bulk"] is not None:
                    on_ray_job(view["bulk"])
        on_done(early + sum(finished.values()))
        if jobs:
            pause_s = POLL_S if len(jobs) < unfinished else min(1.2 * pause_s, MAX_POLL_S)
            time.sleep(pause_s)
    return failures


def _batches(
    files: Sequence[LocalFile], largest: Batch, failures: list[Failed]
) -> Iterator[list[tuple[LocalFile, bytes]]]:
    batch: list[tuple[LocalFile, bytes]] = []
    size = 0
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            failures.append(Failed(file.name, f"cannot be read: {error.strerror}"))
            continue
        if batch and (len(batch) == largest.files or size + len(data) > largest.size):
            yield batch
            batch, size = [], 0
        batch.append((file, data))
        size += len(data)
    if batch:
        yield batch


def _send_batch(
    service: Service,
    batch: list[tuple[LocalFile, bytes]],
    fields: Mapping[str, str],
    jobs: dict[str, dict[str, str]],
    failures: list[Failed],
) -> None:
    parts = [("files", (file.name, data, _media_type(file.path))) for file, data in batch]
    try:
        accepted = _hand_in(service, fields, parts)
    except Refused as refused:
        if refused.status not in (400, 409, 413, 415, 422):
            raise
        if len(batch) == 1:
            failures.append(Failed(batch[0][0].name, str(refused)))
            return
        middle = len(batch) // 2  # the service takes a request whole or not at all: find the refused files
        for half in (batch[:middle], batch[middle:]):
            _send_batch(service, half, fields, jobs, failures)
        return
    jobs[accepted["job_id"]] = {document["id"]: document["filename"] for document in accepted["documents"]}


def _hand_in(service: Service, fields: Mapping[str, str], parts: Sequence[Any]) -> dict[str, Any]:
    """Hand files in. Waits while as many documents of the tenant wait to be indexed as may. Raises Refused."""
    end = time.monotonic() + MAX_ROOM_S
    while True:
        try:
            return service.call("POST", "/v1/documents", data=dict(fields), files=parts)
        except Refused as refused:
            if refused.status != 429 or time.monotonic() >= end:
                raise
            time.sleep(refused.retry_after_s)


def _failures(view: Mapping[str, Any], names: Mapping[str, str]) -> list[Failed]:
    return [
        Failed(names.get(document["id"], document["id"]), (document["error"] or {}).get("detail") or document["state"])
        for document in view["documents"]
        if document["state"] != "indexed"
    ]


def _media_type(path: Path) -> str:
    return KINDS.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _show_failures(console: Console, failures: Sequence[Failed], total: int) -> None:
    """Each with its reason. A remedy that several share, such as the list of formats, is said once, below them."""
    remedies = Counter(_remedy(failed.reason) for failed in failures)
    shared = [remedy for remedy, count in remedies.items() if remedy and count > 1]
    console.print(f"{len(failures)} of {total} failed:")
    for failed in failures:
        remedy = _remedy(failed.reason)
        reason = failed.reason.removesuffix(f"; {remedy}") if remedy in shared else failed.reason
        console.print(plain(failed.name), markup=False, highlight=False)
        console.print(Padding(Text(plain(reason)), (0, 0, 0, 4)))
    for remedy in shared:
        console.print(f"For several of these: {plain(remedy)}", markup=False, highlight=False)


def _remedy(reason: str) -> str:
    """What stands after the last semicolon: the service's errors end on what to do."""
    return reason.rpartition("; ")[2] if "; " in reason else ""


def _show_ray_job(console: Console, job: Mapping[str, Any]) -> None:
    why = f": {plain(job['detail'])}; the workers went on" if job["detail"] else ""
    console.print(f"Ray Job {job['ray_job']}{why}", markup=False, highlight=False, soft_wrap=True)


def _show_list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"{title}:", style="yellow")
    for line in lines[:MAX_LINES_SHOWN]:
        console.print(f"  {plain(line)}", style="yellow", markup=False, highlight=False)
    if len(lines) > MAX_LINES_SHOWN:
        console.print(f"  and {len(lines) - MAX_LINES_SHOWN} more", style="yellow")
