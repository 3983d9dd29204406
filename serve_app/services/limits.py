"""What callers ask for against the service's limits, as routes and commands check it."""

from __future__ import annotations

from collections.abc import Sequence

from deployments import filters
from deployments.errors import InvalidRequest
from deployments.filters import Filter
from serve_app.config.args import ApiConfig
from serve_app.platform.tenant_settings import Limits as TenantLimits


def page(limits: ApiConfig, asked: int | None) -> int:
    """Rows of a list. Raises InvalidRequest."""
    if asked is not None and asked > limits.max_page:
        raise InvalidRequest(f"limit is {asked}; at most {limits.max_page} is allowed")
    return asked or limits.page


def condition(limits: ApiConfig, text: str | None) -> Filter | None:
    """A filter as data, None for none. Raises InvalidFilter."""
    if text is None:
        return None
    return filters.parse(text, max_bytes=limits.max_filter_bytes, max_depth=limits.max_filter_depth)


def overlap(limits: ApiConfig, asked_s: float) -> float:
    """Seconds a rotated key goes on working. Raises InvalidRequest."""
    if asked_s > limits.max_key_overlap_s:
        raise InvalidRequest(f"overlap_s is {asked_s:g}; at most {limits.max_key_overlap_s:g} is allowed")
    return asked_s


def texts(limits: ApiConfig, field: str, given: Sequence[str]) -> None:
    """Raises InvalidRequest for too many texts to embed or rerank, or one too long."""
    if len(given) > limits.max_inputs:
        raise InvalidRequest(f"{field} has {len(given)} texts; at most {limits.max_inputs} are allowed in one request")
    for at, text in enumerate(given):
        if len(text) > limits.max_input_characters:
            raise InvalidRequest(
                f"{field}[{at}] has {len(text)} characters; at most {limits.max_input_characters} are allowed"
            )


def deadline(of_tenant: TenantLimits, asked_s: float) -> float:
    """Seconds that a request of a tenant may take."""
    return min(asked_s, of_tenant.deadline_s or asked_s)
