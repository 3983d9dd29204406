"""Work that a replica does at once for one tenant, so that nobody takes all of it."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class TenantShares:
    """Semaphores of `size`, one a tenant, kept as long as somebody holds or awaits one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_tenant: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, tenant_id: str) -> asyncio.Semaphore:
        return self._by_tenant.setdefault(tenant_id, asyncio.Semaphore(self._size))
