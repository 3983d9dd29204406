"""An index in memory: exact, deterministic, with the same meaning as the real one. For tests and for trying things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from deployments.filters import matches
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.copies import copied
from deployments.retrieval.fusion import dense_share, fuse
from deployments.retrieval.validation import check_entries, check_passage, check_request, embedder_mismatch
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderInfo,
    IndexEntry,
    Passage,
    RetrievalRequest,
    Scope,
    Scores,
    VersionCopy,
)


class FakeIndex:
    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._entries: dict[str, dict[tuple[str, str], IndexEntry]] = {}

    async def open(self) -> None:
        pass

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        check_request(request)
        scope = request.scope
        mine, asker = request.dense.fingerprint, Scope(scope.tenant_id, scope.user_id, seen=scope.seen)
        seen = [name for name, kept in self._entries.items() if any(_visible(e.passage, asker) for e in kept.values())]
        if seen and mine not in seen:
            raise embedder_mismatch(mine, seen)
        visible = [e for e in self._entries.get(mine, {}).values() if _visible(e.passage, scope)]
        scored = [Candidate(entry.passage, _scores(entry, request)) for entry in visible]
        dense = [candidate for candidate in scored if candidate.scores.dense is not None]
        dense = sorted(dense, key=lambda c: (-(c.scores.dense or 0.0), *_place(c)))[: request.limit]
        lexical = [candidate for candidate in scored if (candidate.scores.lexical or 0.0) > 0]
        lexical = sorted(lexical, key=lambda c: (-(c.scores.lexical or 0.0), *_place(c)))[: request.limit]
        share = dense_share(
            request.dense.languages,
            request.language,
            dense_weight=self._config.dense_weight,
            dense_weight_other=self._config.dense_weight_other,
        )
        return fuse(dense, lexical, dense_weight=share)

    async def upsert(self, embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None:
        check_entries(embedder, entries)
        kept = self._entries.setdefault(embedder.fingerprint, {})
        kept.update({(entry.passage.tenant_id, entry.passage.id): entry for entry in entries})

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]:
        passages = {
            entry.passage.id: entry.passage
            for entries in self._entries.values()
            for entry in _window(entries.values(), tenant_id, document_id, version, after, limit)
        }
        return sorted(passages.values(), key=lambda passage: passage.position)

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int:
        written = set()
        for entries in self._entries.values():
            for entry in _window(entries.values(), tenant_id, copy.document_id, copy.version, after, limit):
                passage = (new := copied(entry, copy)).passage
                check_passage(passage)
                entries[tenant_id, passage.id] = new
                written.add(passage.id)
        return len(written)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return self._remove(lambda passage: (passage.tenant_id, passage.document_id) == (tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        doomed = set(versions)
        return self._remove(
            lambda passage: (
                passage.tenant_id == tenant_id and DocumentVersion(passage.document_id, passage.version) in doomed
            )
        )

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        return self._remove(lambda passage: passage.tenant_id == tenant_id and collection in ("", passage.collection))

    def _remove(self, doomed: Callable[[Passage], bool]) -> int:
        removed = 0
        for entries in self._entries.values():
            keys = [key for key, entry in entries.items() if doomed(entry.passage)]
            for key in keys:
                del entries[key]
            removed += len(keys)
        return removed

    async def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def _visible(passage: Passage, scope: Scope) -> bool:
    return (
        passage.tenant_id == scope.tenant_id
        and passage.owner in ("", scope.user_id)
        and (not scope.collections or passage.collection in scope.collections)
        and (scope.seen is None or (passage.version <= scope.seen.newest and passage.version not in scope.seen.hidden))
        and (
            scope.filter is None
            or matches(
                scope.filter,
                document_id=passage.document_id,
                language=passage.language,
                collection=passage.collection,
                metadata=passage.metadata,
            )
        )
    )


def _place(candidate: Candidate) -> tuple[str, int, str]:
    return candidate.passage.document_id, candidate.passage.position, candidate.passage.id


def _window(
    entries: Iterable[IndexEntry], tenant_id: str, document_id: str, version: str, after: int, limit: int
) -> list[IndexEntry]:
    """The entries of a document's version at the `limit` positions that follow `after`."""
    wanted = (tenant_id, document_id, version)
    return [
        entry
        for entry in entries
        if (entry.passage.tenant_id, entry.passage.document_id, entry.passage.version) == wanted
        and after < entry.passage.position <= after + limit
    ]


def _scores(entry: IndexEntry, request: RetrievalRequest) -> Scores:
    lexical = sum(weight * entry.lexical.get(term, 0.0) for term, weight in request.lexical.items())
    return Scores(
        dense=next((float(np.dot(entry.dense, question)) for question in request.dense.vectors), None),
        lexical=float(lexical) if request.lexical else None,
    )
