"""Checks the values of requests against the service's limits and the tenant's, which may be lower."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments import filters
from deployments.errors import InvalidRequest
from deployments.filter_values import MAX_VALUES, count_values
from deployments.filters import Filter
from serve_app.config.args import ApiConfig
from serve_app.platform.tenant_settings import Limits as TenantLimits


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The methods raise InvalidRequest for a value over its limit. The error's `field` names the request's field.

    The methods `resolve_…` also replace None, a value that the request leaves out, by the default.
    """

    config: ApiConfig

    def resolve_page_size(self, requested: int | None) -> int:
        """The number of rows on one page of a list."""
        _check_at_most("limit", requested, self.config.max_page)
        return requested or self.config.page

    def parse_filter(self, text: str | None) -> Filter | None:
        """The filter that a text describes; None if the text is None. Raises InvalidFilter."""
        if text is None:
            return None
        return filters.parse(text, max_bytes=self.config.max_filter_bytes, max_depth=self.config.max_filter_depth)

    def check_key_overlap(self, requested_s: float) -> float:
        """The requested number of seconds for which a key still works after its rotation."""
        most = self.config.max_key_overlap_s
        if requested_s > most:
            raise InvalidRequest(f"overlap_s is {requested_s:g}; at most {most:g} is allowed", field="overlap_s")
        return requested_s

    def resolve_top_k(self, requested: int | None, tenant: TenantLimits) -> int:
        """The number of passages that a query uses."""
        most = _least(self.config.max_top_k, tenant.top_k)
        _check_at_most("top_k", requested, most)
        return requested or min(self.config.top_k, most)

    def resolve_max_tokens(self, requested: int | None, tenant: TenantLimits, *, field: str) -> int:
        """The largest number of tokens of an answer. `field`: the name of the request's field."""
        most = _least(self.config.max_max_tokens, tenant.max_tokens)
        _check_at_most(field, requested, most)
        return requested or min(self.config.max_tokens, most)

    @staticmethod
    def cap_deadline(requested_s: float, tenant: TenantLimits) -> float:
        """The requested seconds, or the tenant's limit if that is lower. Raises nothing."""
        return min(requested_s, tenant.deadline_s or requested_s)

    def check_query_length(self, text: str, *, field: str) -> None:
        """Check the number of characters."""
        most = self.config.max_query_characters
        if len(text) > most:
            raise InvalidRequest(f"{field} has {len(text)} characters; at most {most} are allowed", field=field)

    def check_collections(self, names: Sequence[str]) -> None:
        """Check the number of collections that a query names."""
        most = self.config.max_collections
        if len(names) > most:
            raise InvalidRequest(f"collections names {len(names)}; at most {most} are allowed", field="collections")

    def check_texts(self, texts: Sequence[str], *, field: str) -> None:
        """Check the number of texts to embed or rerank, and the characters of each."""
        if len(texts) > self.config.max_inputs:
            raise InvalidRequest(
                f"{field} has {len(texts)} texts; at most {self.config.max_inputs} are allowed in one request",
                field=field,
            )
        most = self.config.max_input_characters
        for position, text in enumerate(texts):
            if len(text) > most:
                raise InvalidRequest(
                    f"{field}[{position}] has {len(text)} characters; at most {most} are allowed", field=field
                )

    def check_documents(self, count: int) -> None:
        """Check the number of documents of one job."""
        most = self.config.max_files
        if count > most:
            raise InvalidRequest(f"documents names {count}; at most {most} are allowed in one job", field="documents")

    def check_metadata(self, metadata: Mapping[str, Any], *, field: str = "metadata") -> None:
        """Check its size in bytes as JSON, and the number of its values."""
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
        most = self.config.max_metadata_bytes
        if size > most:
            raise InvalidRequest(f"{field} takes {size} bytes; at most {most} are allowed", field=field)
        values = count_values(metadata)
        if values > MAX_VALUES:
            raise InvalidRequest(f"{field} has {values} values; at most {MAX_VALUES} are allowed", field=field)


def _check_at_most(field: str, requested: int | None, most: int) -> None:
    if requested is not None and requested > most:
        raise InvalidRequest(f"{field} is {requested}; at most {most} is allowed", field=field)


def _least(limit: int, narrower: int | None) -> int:
    return limit if narrower is None else min(limit, narrower)
