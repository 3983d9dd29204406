"""build_app: the only place where stages become deployments and are wired to each other.

No `from __future__ import annotations` here: Serve reads the annotation of `args` as an object.
"""

from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.config import DeploymentActorConfig
from ray.serve.deployment import Application

from deployments.embedding.deployment import Embedding
from deployments.generation import availability
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.ingestion.deployment import Ingestion
from deployments.ray_metrics import RayRecorder
from deployments.reranking.deployment import Reranking
from deployments.retrieval.deployment import Retrieval
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import Recorder
from serve_app.admission.limiter import LimiterActor
from serve_app.config.args import AppArgs
from serve_app.handles import EmbeddingHandle, RetrievalHandle
from serve_app.ingress import LIMITER, Ingress
from serve_app.platform.audit import AuditLog
from serve_app.platform.bulk import BulkJobs
from serve_app.platform.events import Events
from serve_app.platform.job_queue import JobQueue
from serve_app.platform.telemetry import DocumentMetrics
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database

ON_THE_HEAD_NODE = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Where the owners of embedded stores run: all on the one node that has the folder."""


def build_app(args: AppArgs) -> Application:
    """The graph, for `serve run` and `serve deploy`: they lay `deployments:` of the config file over it."""
    return compose(args, {})


def compose(args: AppArgs, scale: Mapping[str, Mapping[str, Any]]) -> Application:
    """The graph of deployments. Each is bound to its own stage's config, so that a change restarts no other.

    `scale` is `deployments:` of a config file, options by name; beside it, only what the code itself needs is set.
    """
    args = args.resolved()

    def owned(name: str) -> str:
        return " and ".join(field for field, owners in args.local_stores().items() if name in owners)

    def options(name: str) -> dict[str, Any]:
        needed = {"ray_actor_options": ON_THE_HEAD_NODE} if owned(name) else {}
        return {"name": name, **needed, **scale.get(name, {})}

    database, blobs, recorder = Database(args.store), Blobs(args.blobs), RayRecorder()
    queue = JobQueue(
        database,
        Events((AuditLog(database), DocumentMetrics(recorder))),
        retire_after_s=args.api.max_deadline_s,
        keep_failed_s=args.retention.failed_bytes_s,
        metadata_bytes=args.api.max_metadata_bytes,
    )
    embedding = serve.deployment(Embedding, **options("embedding")).bind(
        args.embedding, args.retrieval.uses_token_vectors, recorder, args.telemetry
    )
    retrieval = serve.deployment(Retrieval, **options("retrieval")).bind(
        args.retrieval, owned("retrieval"), recorder, args.telemetry
    )
    reranking = serve.deployment(Reranking, **options("reranking")).bind(args.reranking, recorder, args.telemetry)
    engine = availability.resolve(args.generation)
    generation = _generation(engine, EmbeddingHandle(embedding), scale.get("generation", {}), recorder, args.telemetry)
    ingestion = serve.deployment(Ingestion, **options("ingestion")).bind(
        args.ingestion,
        EmbeddingHandle(embedding),
        RetrievalHandle(retrieval),
        queue,
        BulkJobs(queue),
        blobs,
        owned("ingestion"),
        telemetry=args.telemetry,
    )
    shared = {} if owned("ingress") else {"deployment_actors": [_limiter(args)]}
    return serve.deployment(Ingress, **options("ingress"), **shared).bind(
        args.api,
        engine,
        database,
        blobs,
        args.sources,
        args.webhooks,
        args.retention,
        args.admission,
        args.prompt,
        args.query,
        args.reranking,
        args.telemetry,
        {
            "embedding": embedding,
            "retrieval": retrieval,
            "reranking": reranking,
            "generation": generation,
            "ingestion": ingestion,
        },
        args.ingestion.lease_s,
        args.ingestion.chunk_sizes,
        owned("ingress"),
    )


def _limiter(args: AppArgs) -> DeploymentActorConfig:
    """One for all ingress replicas, where there may be several."""
    return DeploymentActorConfig(
        name=LIMITER,
        actor_class=ray.remote(LimiterActor),
        init_args=(args.admission.model_dump(),),
        actor_options={"num_cpus": 0},
    )


def _generation(
    config: GenerationConfig,
    embedding: EmbeddingHandle,
    scale: Mapping[str, Any],
    recorder: Recorder,
    telemetry: TelemetryConfig,
) -> Application:
    if config.engine == "vllm":
        from deployments.generation import vllm  # imports ray.serve.llm, seconds that other engines need not wait

        return vllm.build(config, scale, recorder, telemetry)
    scorer = embedding if config.engine == "extractive" else None
    return serve.deployment(Generation, **{"name": "generation", **scale}).bind(config, scorer, recorder, telemetry)
