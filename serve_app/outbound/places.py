"""The folders and buckets that each tenant may name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

TENANT: Final = "{tenant}"
"""Stands for the tenant's id in a place. An id has no slash and does not begin with a dot, so it is one safe step."""
ALL: Final = "*"


def places_of(allowed: Mapping[str, Sequence[str]], tenant_id: str) -> tuple[str, ...]:
    """The places that a tenant may name. `allowed`: the tenants of each place."""
    return tuple(
        place.replace(TENANT, tenant_id) for place, tenants in allowed.items() if ALL in tenants or tenant_id in tenants
    )


def check_tenants(allowed: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError for a place without tenants, or with another brace than TENANT's."""
    for place, tenants in allowed.items():
        if not tenants:
            raise ValueError(f"{place!r} is for no tenant; list their ids, or {ALL!r} for all")
        if "{" in place.replace(TENANT, "") or "}" in place.replace(TENANT, ""):
            raise ValueError(f"{place!r} holds a brace; only {TENANT} may, for the tenant's id")
