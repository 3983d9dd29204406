"""The command bus: verbs by name, each one class that calls the services that routes call."""

from __future__ import annotations

from serve_app.commands import collections, documents, health, keys, questions, reindex, tenants

__all__ = ["collections", "documents", "health", "keys", "questions", "reindex", "tenants"]
