"""What routes and commands are given: built once a replica by ingress.py, by hand in tests. And who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.errors import Forbidden, InvalidRequest
from deployments.types import DocumentVersion, Embeddings, Passage, StageStatus, TextKind, VersionCopy
from serve_app.admission.replica import ReplicaAdmission
from serve_app.config.args import ApiConfig
from serve_app.outbound.sources import Sources
from serve_app.platform import actor
from serve_app.platform.actor import Actor
from serve_app.platform.audit import AuditLog, QueryLog
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.events import Events
from serve_app.platform.idempotency import Idempotency
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys, Principal, Role
from serve_app.platform.tenants import Tenants, TenantView
from serve_app.query.pipeline import Pipeline
from serve_app.storage.blobs import Blobs
from serve_app.storage.database import Database


class Passages(Protocol):
    """What the ingress needs of the index beside searching."""

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]: ...

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int: ...

    async def delete(self, tenant_id: str, document_id: str) -> int: ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int: ...

    async def purge(self, tenant_id: str, *, collection: str = "") -> int: ...


class Inference(Protocol):
    """The embedder and the reranker by themselves, outside a query."""

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings: ...

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Of each text, as the embedder reads it."""
        ...

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The reranker's relevance of each text to the query in [0, 1]."""
        ...

    async def embedder(self) -> str:
        """The id of the model; a value remembered from the last time the stage was asked."""
        ...

    async def reranker(self) -> str:
        """The same of the reranker's."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """`stages` asks every stage for the status of its replicas; `announce` tells ingestion that work waits.

    `settle_s` is how long a worker may still hold a document of a tenant that is being deleted; `models` are those that
    a tenant's settings may choose.
    """

    pipeline: Pipeline
    inference: Inference
    admission: ReplicaAdmission
    models: tuple[str, ...]
    tenants: Tenants
    keys: Keys
    collections: Collections
    documents: Documents
    jobs: Jobs
    passages: Passages
    blobs: Blobs
    sources: Sources
    events: Events
    audit: AuditLog
    idempotency: Idempotency
    limits: ApiConfig
    settle_s: float
    stages: Callable[[], Awaitable[Mapping[str, list[StageStatus]]]]
    announce: Callable[[], None]


def assemble(
    database: Database,
    blobs: Blobs,
    pipeline: Pipeline,
    inference: Inference,
    admission: ReplicaAdmission,
    passages: Passages,
    sources: Sources,
    limits: ApiConfig,
    *,
    models: Sequence[str],
    webhook_url: Callable[[str], object],
    settle_s: float,
    stages: Callable[[], Awaitable[Mapping[str, list[StageStatus]]]],
    announce: Callable[[], None],
) -> Services:
    """The services of one database. `models` are those that a tenant's settings may choose; `webhook_url` raises
    InvalidRequest for a URL that they may not name."""
    audit = AuditLog(database)
    events = Events((audit, QueryLog(database)))
    return Services(
        pipeline=pipeline,
        inference=inference,
        admission=admission,
        models=tuple(models),
        tenants=Tenants(database, events, cache_s=limits.key_cache_s, models=models, webhook_url=webhook_url),
        keys=Keys(database, events, cache_s=limits.key_cache_s),
        collections=Collections(database, events),
        documents=Documents(database, events, retire_after_s=limits.max_deadline_s),
        jobs=Jobs(database, events, retire_after_s=limits.max_deadline_s),
        passages=passages,
        blobs=blobs,
        sources=sources,
        events=events,
        audit=audit,
        idempotency=Idempotency(database, lease_s=limits.max_deadline_s, keep_s=limits.idempotency_s),
        limits=limits,
        settle_s=settle_s,
        stages=stages,
        announce=announce,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks: a tenant that may work, and what the key allows."""

    tenant: TenantView
    role: Role
    key_id: str

    @property
    def tenant_id(self) -> str:
        return self.tenant.id

    def to_change(self) -> Access:
        """Raises Forbidden for a key that may only ask."""
        if self.role == "query":
            raise Forbidden("this key may only ask; use an admin key of the tenant")
        return self


async def authenticate(services: Services, secret: str, request_id: str) -> Principal:
    """Whom a secret speaks for; from here on what happens in this context is theirs. Raises Unauthenticated."""
    principal = await services.keys.authenticate(secret)
    actor.act_as(Actor(principal.key_id, principal.role, request_id))
    return principal


async def access(services: Services, principal: Principal, named: str | None) -> Access:
    """The tenant comes from the key and from nowhere else; only the platform's key names one with each request.

    Raises Forbidden for another tenant than the key's, NotFound, TenantSuspended.
    """
    if principal.role != "platform":
        if named is not None and named != principal.tenant_id:
            raise Forbidden("this key speaks for its own tenant only; leave the tenant out")
        tenant_id = principal.tenant_id
    elif named is None:
        raise InvalidRequest("a platform key must name the tenant: the header X-Tenant-ID, or `tenant` in a command")
    else:
        tenant_id = named
    return Access(await services.tenants.active(tenant_id), principal.role, principal.key_id)


def for_overseer(principal: Principal, tenant_id: str) -> None:
    """Raises Forbidden unless the key is the platform's, or an admin key of the tenant."""
    if principal.role != "platform" and (principal.role, principal.tenant_id) != ("admin", tenant_id):
        raise Forbidden("this key may not look at that tenant")


def for_platform(principal: Principal) -> Principal:
    """Raises Forbidden for any other key."""
    if principal.role != "platform":
        raise Forbidden("this needs a platform key: rag keys create --role platform")
    return principal
