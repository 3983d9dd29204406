"""Ray reads its flags when it is imported, so they are set before any test module is."""

from __future__ import annotations

from cluster import node

node.set_flags()
