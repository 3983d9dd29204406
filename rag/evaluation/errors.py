from __future__ import annotations


class EvaluationError(Exception):
    """Input that cannot be evaluated. The message names the file, the line or field, and the remedy."""
