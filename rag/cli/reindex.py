"""`rag reindex`: make the index again from the stored documents, followed until it is live."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, DataDir, Key, Service, Url, connect, plain

POLL_S = 0.5
MAX_FAILED_SHOWN = 10


def reindex(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Option(help="Only this collection, document by document, for new chunk sizes.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Reindex even if no document is behind.")] = False,
    bulk: Annotated[bool, typer.Option("--bulk", help="Reindex in a Ray Job, which Ray's dashboard shows.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Index all documents again: for another embedder or chunk size, or after the index was lost.

    The old index answers until the new one takes its place, in one step. Ctrl-C leaves the job running; `rag reindex`
    again follows it.
    """
    console = Console()
    with connect(context, url, key, data_dir) as service:
        state = service.call("GET", "/v1/reindex")
        job_id = state["job_id"]
        if job_id is None:
            if not (state["behind"] or state["missing"] or everything):
                console.print(
                    f"None of {state['documents']:,} documents is behind; --all indexes them again all the same."
                )
                return
            job_id = service.call("POST", "/v1/reindex", json={"collection": collection, "bulk": bulk})["job_id"]
        console.print(f"Job {job_id}; the index as it is answers meanwhile.", highlight=False)
        show_until_over(service, job_id, console)


def fill_lost_index(service: Service, reason: str, console: Console) -> None:
    """Index all documents again if the index lacks some of their passages. Raises CliError if that does not succeed.

    `reason` is shown before it begins.
    """
    state = service.call("GET", "/v1/reindex")
    if not state["missing"]:
        return
    console.print(f"  {reason} {state['documents']:,} documents are indexed again.", highlight=False, markup=False)
    show_until_over(service, state["job_id"] or service.call("POST", "/v1/reindex", json={})["job_id"], console)


def show_until_over(service: Service, job_id: str, console: Console) -> None:
    """Follow a job with a progress bar. Raises CliError if it does not succeed."""
    with _progress_bar(console) as bar:
        task = bar.add_task("indexed", total=None)
        job = follow(service, job_id, lambda done, total: bar.update(task, completed=done, total=total))
    if job["state"] != "succeeded":
        raise CliError(_why_not(job))
    console.print(f"{job['counts']['indexed']:,} documents indexed again.", highlight=False)


def follow(service: Service, job_id: str, on_progress: Callable[[int, int], object]) -> Mapping[str, Any]:
    """The job once it is over. `on_progress` gets the number of finished documents and of all."""
    while True:
        job = service.call("GET", f"/v1/jobs/{job_id}")
        counts = job["counts"]
        on_progress(counts["indexed"] + counts["failed"] + counts["cancelled"], sum(counts.values()))
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(POLL_S)


def _why_not(job: Mapping[str, Any]) -> str:
    failed = [document for document in job["documents"] if document["state"] == "failed"]
    if not failed:
        return "it was cancelled; the index is as it was"
    shown = [f"  {plain(each['id'])}: {plain((each['error'] or {}).get('detail') or '')}" for each in failed]
    more = [f"  and {len(failed) - MAX_FAILED_SHOWN} more"] if len(failed) > MAX_FAILED_SHOWN else []
    lines = "\n".join(shown[:MAX_FAILED_SHOWN] + more)
    return (
        f"{len(failed)} documents failed, so the index is as it was. Delete them or hand in other content, then "
        f"`rag reindex` goes on with the rest:\n{lines}"
    )


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
