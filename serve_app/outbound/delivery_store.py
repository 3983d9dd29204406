"""The port by which the sender of webhooks reads and updates the stored messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed message. `id` is the same at each try; `attempts` counts them, this one included."""

    id: str
    tenant_id: str
    job_id: str
    attempts: int
    url: str
    secret: str = field(repr=False)


class DeliveryStore(Protocol):
    """Durable. Once a lease has run out, calls about the former claim change nothing."""

    async def claim(self, *, lease_s: float, limit: int) -> Sequence[Delivery]: ...

    async def message(self, delivery: Delivery, *, documents: int) -> dict[str, Any]:
        """What is to be told, ready for JSON and the same each time. Raises NotFound."""
        ...

    async def delivered(self, delivery: Delivery, *, keep_s: float) -> None: ...

    async def retry(self, delivery: Delivery, problem: str, *, after_s: float) -> None: ...

    async def failed(self, delivery: Delivery, problem: str, *, keep_s: float) -> None: ...

    async def forget(self) -> None:
        """Remove what was to be kept until now."""
        ...
