"""The stages as Ray Data operators: parse → embed → insert, on any node, with a bounded number of batches under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy

from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.stages import COLUMN, ChunkBatch, Embed, Insert, Parse, from_row

_ON_THE_HEAD_NODE = {"node:__internal_head__": 0.001}
_BLOCK_BYTES = 1024 * 1024
"""Small, so that a batch is passed on as soon as it is made, and few lie in the object store."""
_WAITING_CPUS = 0.1
"""Logical CPUs of an actor that waits for other stages most of the time."""


def run_pipeline(ports: BulkPorts, job: BulkJob, documents: int) -> Iterator[ChunkBatch]:
    """Index at most `documents` of the job's documents. Gives their batches as they come out of the last stage.

    Raises what Ray Data raises.
    """
    for row in _dataset(ports, job, documents).iter_rows():
        yield from_row(row[COLUMN])


def _dataset(ports: BulkPorts, job: BulkJob, documents: int) -> ray.data.Dataset:
    """From a row per ticket to a row per batch: for each ticket, `Parse` claims a document and gives its batches.

    Ray Data places the actors on all nodes by default.
    """
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    limits, processes = ports.config.bulk, ports.config.parse_processes
    context.execution_no_progress_timeout_s = limits.stall_s
    # A block is the least that Ray Data gives to an actor, so each ticket is a block of its own.
    tickets = ray.data.from_items([{"ticket": number} for number in range(documents)], override_num_blocks=documents)
    tickets.set_name(job.name)
    parsed = tickets.map_batches(
        Parse,
        fn_constructor_args=(ports, job),
        batch_size=1,
        compute=_actors(1 if ports.pinned else limits.parsers, processes),
        num_cpus=processes,
        resources=_ON_THE_HEAD_NODE if ports.pinned else None,
    )
    # Embedding and inserting are other deployments' work, which these actors wait for.
    waiting_stage: dict[str, Any] = {"fn_constructor_args": (ports,), "batch_size": 1, "num_cpus": _WAITING_CPUS}
    embedded = parsed.map_batches(Embed, compute=_actors(1, limits.calls), **waiting_stage)
    return embedded.map_batches(Insert, compute=_actors(1, limits.calls), **waiting_stage)


def _actors(max_actors: int, calls: int) -> ActorPoolStrategy:
    """One to `max_actors` actors, each of which works on `calls` batches at the same time."""
    return ActorPoolStrategy(
        min_size=1, max_size=max_actors, max_concurrent_calls_per_actor=calls, max_tasks_in_flight_per_actor=calls
    )
