"""Made-up passages and questions of a tenant of the users' size, and their vectors, terms and scopes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from deployments.types import (
    Embeddings,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    Scope,
    VisibleVersions,
)

DIMENSION, CLUSTERS, SPREAD = 384, 2_000, 0.8
GENERATION = IndexGeneration("clustered", "clustered", DIMENSION)
TERMS, TERMS_IN_PASSAGE, TERMS_IN_QUESTION = 50_000, 80, 10
STOP_WORDS = 100
"""The commonest words, which reach no index."""
PASSAGES_IN_DOCUMENT = 50
COLLECTIONS = ("gazette", "laws", "rulings", "internal")
HIDDEN_EVERY = 40
"""One of so many versions is hidden: being written, replaced or deleted."""
PRIVATE_EVERY = 20
"""One of so many documents is a user's own."""
USERS = 25
WRITTEN_AT_ONCE = 500
PASSAGE_TOKENS, QUESTION_TOKENS = 246, 16
"""Token vectors of each; the acts of `croatian-law` have so many in the mean."""
TEXT = "Rok za žalbu je petnaest dana od dana dostave rješenja, ako zakonom nije propisan drugi rok. " * 12


class Material:
    """Passages and questions, the same for the same seed.

    `term_ids`: those of the index, shape (TERMS,).
    """

    def __init__(self, seed: int, term_ids: npt.NDArray[np.uint32] | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._term_ids = np.arange(2, TERMS + 2, dtype=np.uint32) if term_ids is None else term_ids
        self._centres = self._unit(self._random.standard_normal((CLUSTERS, DIMENSION)))
        weights = 1 / np.arange(STOP_WORDS + 1, STOP_WORDS + TERMS + 1)
        self._cumulated = np.cumsum(weights / weights.sum())
        self._written: dict[str, int] = {}

    def entries(self, tenant_id: str, number: int) -> list[IndexEntry]:
        """A tenant's next passages."""
        start = self._written.get(tenant_id, 0)
        self._written[tenant_id] = start + number
        terms, weights = self._terms(number, TERMS_IN_PASSAGE)
        return [
            IndexEntry(
                _passage(tenant_id, row),
                vector,
                dict(zip(terms[place].tolist(), weights[place].tolist(), strict=True)),
                self._packed_tokens(),
            )
            for place, (row, vector) in enumerate(zip(range(start, start + number), self._vectors(number), strict=True))
        ]

    def batches(self, tenant_id: str, number: int) -> Iterator[list[IndexEntry]]:
        """A tenant's next passages, as many as are written at once."""
        for start in range(0, number, WRITTEN_AT_ONCE):
            yield self.entries(tenant_id, min(WRITTEN_AT_ONCE, number - start))

    def request(self, tenant_id: str, limit: int) -> RetrievalRequest:
        versions = range(self._written[tenant_id] // PASSAGES_IN_DOCUMENT + 1)
        terms, weights = self._terms(1, TERMS_IN_QUESTION)
        scope = Scope(
            tenant_id,
            user_id=f"user-{self._random.integers(USERS)}",
            collections=COLLECTIONS[:3],
            visible=VisibleVersions(version(versions[-1]), tuple(map(version, versions[::HIDDEN_EVERY]))),
        )
        vector = self._vectors(1)
        question = dict(zip(terms[0].tolist(), weights[0].tolist(), strict=True))
        tokens = self._unit(self._random.standard_normal((QUESTION_TOKENS, DIMENSION)))
        dense = Embeddings(vector, GENERATION.embedder, question_tokens=tokens)
        return RetrievalRequest(scope, dense, question, "hr", limit)

    def term_places(self, number: int) -> list[int]:
        """Places in `term_ids`, drawn as those of passages are."""
        found: list[int] = self._drawn((number,)).tolist()
        return found

    def _vectors(self, number: int) -> np.ndarray:
        noise = self._unit(self._random.standard_normal((number, DIMENSION)))
        return self._unit(self._centres[self._random.integers(CLUSTERS, size=number)] + SPREAD * noise)

    def _terms(self, rows: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = self._term_ids[self._drawn((rows, number))]
        return drawn, self._random.uniform(0.5, 2, drawn.shape).astype(np.float32)

    def _drawn(self, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Places of terms, commoner ones more often."""
        return np.minimum(np.searchsorted(self._cumulated, self._random.random(shape)), TERMS - 1)

    def _packed_tokens(self) -> bytes:
        """As `late_interaction.pack` gives them: any bytes are vectors."""
        return self._random.bytes(PASSAGE_TOKENS * DIMENSION // 4)

    @staticmethod
    def _unit(vectors: np.ndarray) -> np.ndarray:
        found: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return found


def version(number: int) -> str:
    """Of a document. The service takes such names for those of former releases, and so shows them."""
    return f"{number:016x}"


def _passage(tenant_id: str, row: int) -> Passage:
    document = row // PASSAGES_IN_DOCUMENT
    return Passage(
        id=f"{tenant_id}-{row:032x}",
        document_id=f"narodne-novine-{document}.pdf",
        version=version(document),
        tenant_id=tenant_id,
        owner="" if document % PRIVATE_EVERY else f"user-{document % USERS}",
        collection=COLLECTIONS[document % len(COLLECTIONS)],
        language="hr",
        position=row % PASSAGES_IN_DOCUMENT,
        title=f"Narodne novine {document}",
        text=TEXT,
        metadata={"year": 1990 + document % 35, "page": row % 60, "headings": ["Pravilnik", f"Članak {row}."]},
    )
