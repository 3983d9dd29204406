"""The names of a question's timings."""

from __future__ import annotations

MOMENTS = ("sources", "first_token", "total")
"""Timings of a question that are measured from its start. Its others are those of stages."""
