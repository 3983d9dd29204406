"""An index in memory, for tests and demonstrations: exact, deterministic, and with the results of the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from deployments.filters import matches
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.entries import copied, cosine, inner_product
from deployments.retrieval.fusion import dense_share, fuse
from deployments.retrieval.validation import check_entries, check_passage, check_request
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    Scope,
    Scores,
    VersionCopy,
)


class FakeIndex:
    """See `base.Index`."""

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._entries: dict[str, dict[tuple[str, str], IndexEntry]] = {}
        """IndexGeneration → (tenant id, passage id) → entry."""

    async def open(self) -> None:
        pass

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        check_request(request)
        entries = self._entries.get(request.generation, {}).values()
        candidates = [
            Candidate(entry.passage, _scores(entry, request))
            for entry in entries
            if _is_visible(entry.passage, request.scope)
        ]
        dense = _best(
            [(candidate, dense) for candidate in candidates if (dense := candidate.scores.dense) is not None],
            request.limit,
        )
        lexical = _best(
            [(candidate, lexical) for candidate in candidates if (lexical := candidate.scores.lexical or 0.0) > 0],
            request.limit,
        )
        share = dense_share(
            request.dense.languages,
            request.language,
            dense_weight=self._config.dense_weight,
            dense_weight_other=self._config.dense_weight_other,
        )
        return fuse(dense, lexical, dense_weight=share)

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        check_entries(generation, entries)
        stored = self._entries.setdefault(generation.name, {})
        stored.update({(entry.passage.tenant_id, entry.passage.id): entry for entry in entries})

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        passages = {
            entry.passage.id: entry.passage
            for entries in self._of(generation)
            for entry in _window(entries.values(), tenant_id, document_id, version, after, limit)
        }
        return sorted(passages.values(), key=lambda passage: passage.position)

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        written = set()
        for entries in self._of(generation):
            for entry in _window(entries.values(), tenant_id, copy.document_id, copy.version, after, limit):
                new_entry = copied(entry, copy)
                check_passage(new_entry.passage)
                entries[tenant_id, new_entry.passage.id] = new_entry
                written.add(new_entry.passage.id)
        return len(written)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return self._remove(lambda passage: (passage.tenant_id, passage.document_id) == (tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        removed = set(versions)
        return self._remove(
            lambda passage: (
                passage.tenant_id == tenant_id and DocumentVersion(passage.document_id, passage.version) in removed
            )
        )

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        return self._remove(
            lambda passage: passage.tenant_id == tenant_id and collection in ("", passage.collection), generation
        )

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        of_tenant = [
            entry for entry in self._entries.get(generation, {}).values() if entry.passage.tenant_id == tenant_id
        ]
        return GenerationSize(len(of_tenant), len(of_tenant[0].dense) if of_tenant else 0)

    def _of(self, generation: str) -> list[dict[tuple[str, str], IndexEntry]]:
        """The entries of the generation, or of each if it is empty."""
        return [entries for name, entries in self._entries.items() if generation in ("", name)]

    def _remove(self, is_removed: Callable[[Passage], bool], generation: str = "") -> int:
        removed = 0
        for entries in self._of(generation):
            keys = [key for key, entry in entries.items() if is_removed(entry.passage)]
            for key in keys:
                del entries[key]
            removed += len(keys)
        return removed

    async def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def _is_visible(passage: Passage, scope: Scope) -> bool:
    return (
        passage.tenant_id == scope.tenant_id
        and passage.owner in ("", scope.user_id)
        and (not scope.collections or passage.collection in scope.collections)
        and (scope.visible is None or scope.visible.includes(passage.version))
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


def _best(scored: Iterable[tuple[Candidate, float]], limit: int) -> list[Candidate]:
    """The `limit` candidates with the highest scores, ties by document and position."""

    def rank(candidate_and_score: tuple[Candidate, float]) -> tuple[float, str, int, str]:
        candidate, score = candidate_and_score
        return -score, candidate.passage.document_id, candidate.passage.position, candidate.passage.id

    return [candidate for candidate, _ in sorted(scored, key=rank)[:limit]]


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
    lexical = inner_product(request.lexical, entry.lexical) if request.lexical else None
    return Scores(dense=cosine(request, entry.dense), lexical=lexical)
