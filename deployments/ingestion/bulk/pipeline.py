"""The stages as operators of Ray Data: parse → embed → insert, on any node, a bounded number of pieces on their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy

from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import COLUMN, Embed, Insert, Parse, Piece, from_row

_ON_THE_HEAD_NODE = {"node:__internal_head__": 0.001}
_BLOCK_BYTES = 1024 * 1024
"""Small, so that pieces move on as soon as they are made, and few of them lie in the object store."""
_WAITING_CPUS = 0.1
"""Of an actor that waits for other stages most of its time."""


def pieces(ports: BulkPorts, job: BulkJob, tickets: int) -> Iterator[Piece]:
    """The pieces of at most `tickets` documents, inserted, as they come. Raises what Ray Data raises."""
    for row in _dataset(ports, job, tickets).iter_rows():
        yield from_row(row[COLUMN])


def _dataset(ports: BulkPorts, job: BulkJob, tickets: int) -> ray.data.Dataset:
    """One row a document to begin with. Ray Data's default places actors on as many nodes as there are."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_no_progress_timeout_s = ports.config.bulk.stall_s
    limits, processes = ports.config.bulk, ports.config.parse_processes
    documents = ray.data.from_items([{"ticket": number} for number in range(tickets)], override_num_blocks=tickets)
    documents.set_name(job.name)
    parsed = documents.map_batches(
        Parse,
        fn_constructor_args=(ports, job),
        batch_size=1,
        compute=_actors(1 if ports.pinned else limits.parsers, processes),
        num_cpus=processes,
        resources=_ON_THE_HEAD_NODE if ports.pinned else None,
    )
    beside: dict[str, Any] = {"fn_constructor_args": (ports,), "batch_size": 1, "num_cpus": _WAITING_CPUS}
    embedded = parsed.map_batches(Embed, compute=_actors(1, limits.calls), **beside)
    return embedded.map_batches(Insert, compute=_actors(1, limits.calls), **beside)


def _actors(most: int, calls: int) -> ActorPoolStrategy:
    return ActorPoolStrategy(
        min_size=1, max_size=most, max_concurrent_calls_per_actor=calls, max_tasks_in_flight_per_actor=calls
    )
