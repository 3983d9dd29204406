"""Things as routes and commands show them: ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from deployments.types import Passage, StageStatus
from serve_app.platform.collections import CollectionView
from serve_app.platform.jobs import Accepted, JobSummary, JobView
from serve_app.platform.keys import Key
from serve_app.platform.new_document import Upload
from serve_app.platform.tenants import TenantView
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Document


def tenant(found: TenantView) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "status": found.status,
        "settings": found.settings.model_dump() if found.new_secret else found.settings.shown(),
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }


def tenants(found: Sequence[TenantView], limit: int) -> dict[str, Any]:
    """A page; `next` is the `after` of the one that follows."""
    return {"tenants": [tenant(each) for each in found], "next": found[-1].id if len(found) == limit else None}


def collection(found: CollectionView) -> dict[str, Any]:
    return asdict(found) | {
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }


def collections(found: Sequence[CollectionView], limit: int) -> dict[str, Any]:
    """A page; `next` is the `after` of the one that follows."""
    return {
        "collections": [collection(each) for each in found],
        "next": found[-1].name if len(found) == limit else None,
    }


def key(found: Key) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "role": found.role,
        "begins_with": f"rag_{found.prefix}",
        "created_at": found.created_at.isoformat(),
        "expires_at": _time(found.expires_at),
        "revoked_at": _time(found.revoked_at),
    }


def listed_document(found: Document) -> dict[str, Any]:
    return {
        "id": found.id,
        "title": found.title,
        "collection": found.collection,
        "language": found.language,
        "user": found.owner or None,
        "filename": found.filename,
        "media_type": found.media_type,
        "size": found.size,
        "passages": found.passages,
        "metadata": found.metadata_,
        "live": bool(found.version),
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }


def document(found: Document) -> dict[str, Any]:
    return listed_document(found) | {"version": found.version or None, "sha256": found.content_hash}


def documents(page: Page[Document]) -> dict[str, Any]:
    return {"documents": [listed_document(each) for each in page.rows], "next": page.next}


def chunks(found: Sequence[Passage], following: int | None) -> dict[str, Any]:
    return {
        "chunks": [
            {"id": each.id, "position": each.position, "text": each.text, "metadata": each.metadata} for each in found
        ],
        "next": following,
    }


def accepted(job: Accepted, uploads: Sequence[Upload]) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "document_id": job.documents[0] if len(job.documents) == 1 else None,
        "documents": [
            {"id": document_id, "filename": upload.document.filename}
            for document_id, upload in zip(job.documents, uploads, strict=True)
        ],
    }


def job(found: JobSummary | JobView) -> dict[str, Any]:
    return asdict(found) | {
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }


def jobs(page: Page[JobSummary]) -> dict[str, Any]:
    return {"jobs": [job(each) for each in page.rows], "next": page.next}


def readiness(stages: Mapping[str, Sequence[StageStatus]]) -> dict[str, Any]:
    """Ready once every stage has a replica that is."""
    shown = {name: _stage(replicas) for name, replicas in stages.items()}
    return {"ready": all(stage["ready"] for stage in shown.values()), "stages": shown}


def _stage(replicas: Sequence[StageStatus]) -> dict[str, Any]:
    best = next((status for status in replicas if status.ready), replicas[0] if replicas else None)
    if best is None:
        return {"ready": False, "engine": None, "model": None, "replicas": 0, "detail": "no replica answers"}
    return {
        "ready": best.ready,
        "engine": best.engine,
        "model": best.model,
        "replicas": sum(status.ready for status in replicas),
        "detail": best.detail,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
