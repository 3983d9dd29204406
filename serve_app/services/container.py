"""Builds the stores and the services, and holds them for the routes and commands that use them.

Each ingress replica builds them once. Tests build them with fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployments.ingestion.base import ChunkSizes
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from serve_app.admission.replica import ReplicaAdmission
from serve_app.config.args import ApiConfig
from serve_app.outbound.sources import Sources
from serve_app.platform.audit import AuditLog
from serve_app.platform.collections import Collections
from serve_app.platform.daily_usage import UsageReports
from serve_app.platform.documents import Documents
from serve_app.platform.events import Events
from serve_app.platform.idempotency import Idempotency
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.query_log import QueryLog
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.retention import Retention
from serve_app.platform.retention_config import RetentionConfig
from serve_app.platform.telemetry import QueryMetrics
from serve_app.platform.tenants import Tenants
from serve_app.platform.unknown_keys import UnknownKeys
from serve_app.query.pipeline import Pipeline
from serve_app.schemas.operations import DeepHealth
from serve_app.services.access import AccessService
from serve_app.services.canary import Canary
from serve_app.services.deletion import DeletionService
from serve_app.services.documents import DocumentService
from serve_app.services.job_progress import JobProgress
from serve_app.services.jobs import JobService
from serve_app.services.limits import RequestLimits
from serve_app.services.models import ModelCatalogue
from serve_app.services.ports import AnnounceJob, AskStages, Inference, Passages, ReadMetrics
from serve_app.services.queries import QueryService
from serve_app.services.query_traces import QueryTraces
from serve_app.services.reindexing import ReindexService
from serve_app.services.repeated import Repeated
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database

_RETENTION, _TELEMETRY = RetentionConfig(), TelemetryConfig()


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores. All are in one database, except the blobs."""

    tenants: Tenants
    keys: Keys
    collections: Collections
    documents: Documents
    jobs: Jobs
    idempotency: Idempotency
    reindexing: Reindexing
    audit: AuditLog
    query_log: QueryLog
    usage: UsageReports
    retention: Retention
    events: Events
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class Services:
    """All that routes and commands use: the services, and the stores that need no service around them."""

    access: AccessService
    queries: QueryService
    documents: DocumentService
    deletion: DeletionService
    jobs: JobService
    reindexing: ReindexService
    models: ModelCatalogue
    inference: Inference
    tenants: Tenants
    keys: Keys
    collections: Collections
    audit: AuditLog
    query_log: QueryLog
    query_traces: QueryTraces
    usage: UsageReports
    retention: Retention
    idempotency: Idempotency
    ask_stages: AskStages
    ask_canary: Repeated[DeepHealth]
    read_metrics: ReadMetrics
    limits: RequestLimits
    config: ApiConfig


def build_stores(
    database: Database,
    blobs: Blobs,
    config: ApiConfig,
    *,
    models: Sequence[str],
    chunk_sizes: ChunkSizes,
    check_webhook_url: Callable[[str], object],
    recorder: Recorder = NO_RECORDER,
    retention: RetentionConfig = _RETENTION,
) -> Stores:
    """Build the stores.

    `models`: the model names that a tenant's settings may choose from. `chunk_sizes`: those of the ingestion stage's
    configuration. `check_webhook_url`: raises InvalidRequest for a URL that a tenant's settings may not hold.
    `recorder`: where the metrics of events go.
    """
    audit, query_log = AuditLog(database), QueryLog(database)
    events = Events((audit, query_log, QueryMetrics(recorder)))
    return Stores(
        tenants=Tenants(database, events, cache_s=config.key_cache_s, models=models, webhook_url=check_webhook_url),
        keys=Keys(
            database,
            events,
            cache_s=config.key_cache_s,
            unknown=UnknownKeys(config.unknown_keys_per_minute, config.unknown_key_cache_s),
        ),
        collections=Collections(database, events),
        documents=Documents(database, events, retire_after_s=config.max_deadline_s),
        jobs=Jobs(
            database,
            events,
            retire_after_s=config.max_deadline_s,
            keep_failed_s=retention.failed_bytes_s,
            metadata_bytes=config.max_metadata_bytes,
            max_waiting=config.max_waiting_documents,
        ),
        idempotency=Idempotency(
            database,
            lease_s=config.max_deadline_s,
            keep_s=config.idempotency_s,
            max_answer_bytes=config.kept_answer_bytes,
            max_tenant_bytes=config.kept_answers_bytes,
        ),
        reindexing=Reindexing(database, chunk_sizes, events, retire_after_s=config.max_deadline_s),
        audit=audit,
        query_log=query_log,
        usage=UsageReports(database),
        retention=Retention(database, retention, idempotency_s=config.idempotency_s),
        events=events,
        blobs=blobs,
    )


def build_services(
    stores: Stores,
    pipeline: Pipeline,
    inference: Inference,
    admission: ReplicaAdmission,
    passages: Passages,
    sources: Sources,
    config: ApiConfig,
    *,
    models: Sequence[str],
    settle_s: float,
    ask_stages: AskStages,
    read_metrics: ReadMetrics,
    announce_job: AnnounceJob,
    telemetry: TelemetryConfig = _TELEMETRY,
) -> Services:
    """Build the services.

    `models`: the model names that the generation deployment serves. `settle_s`: see `DeletionService`.
    """
    limits = RequestLimits(config)
    documents = DocumentService(
        store=stores.documents,
        jobs=stores.jobs,
        collections=stores.collections,
        blobs=stores.blobs,
        passages=passages,
        sources=sources,
        limits=limits,
        announce_job=announce_job,
    )
    return Services(
        access=AccessService(stores.keys, stores.tenants),
        queries=QueryService(pipeline, admission, stores.collections, stores.events, limits),
        documents=documents,
        deletion=DeletionService(
            document_service=documents,
            documents=stores.documents,
            tenants=stores.tenants,
            keys=stores.keys,
            queue=stores.jobs.queue,
            blobs=stores.blobs,
            passages=passages,
            limits=limits,
            settle_s=settle_s,
        ),
        jobs=JobService(
            stores.jobs,
            config,
            announce_job,
            JobProgress(
                stores.jobs,
                stores.tenants.active,
                poll_s=config.job_poll_s,
                max_streams=config.max_job_streams,
            ),
        ),
        reindexing=ReindexService(
            store=stores.reindexing,
            collections=stores.collections,
            inference=inference,
            passages=passages,
            announce_job=announce_job,
        ),
        models=ModelCatalogue(pipeline.generator, inference, tuple(models)),
        inference=inference,
        tenants=stores.tenants,
        keys=stores.keys,
        collections=stores.collections,
        audit=stores.audit,
        query_log=stores.query_log,
        query_traces=QueryTraces(stores.query_log, telemetry),
        usage=stores.usage,
        retention=stores.retention,
        idempotency=stores.idempotency,
        ask_stages=ask_stages,
        ask_canary=Repeated(Canary(pipeline, inference, stage_s=config.first_token_s).ask, config.status_keep_s),
        read_metrics=read_metrics,
        limits=limits,
        config=config,
    )
