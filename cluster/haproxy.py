"""The name that deployed configurations use for `cluster.edge.haproxy`."""

from __future__ import annotations

from cluster.edge.haproxy import install

__all__ = ["install"]
