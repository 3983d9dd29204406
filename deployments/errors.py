"""The errors that stages and the service raise on purpose.

    RagError
    ├── BadInput                the caller must change the request; never retried as it is
    │   ├── InvalidRequest        InvalidFilter  UnknownCollection  UnknownModel  PromptTooLong  EmbedderMismatch
    │   ├── DocumentTooLarge      BodyTooSlow  UnsupportedContent  UnsupportedDocument  BrokenDocument
    │   ├── NotFound              Conflict  QuotaExceeded  IdempotencyMismatch  RangeNotSatisfiable
    │   └── Unauthenticated       Forbidden  TenantSuspended
    └── Unavailable             the caller may retry the same request
        ├── StageUnavailable      Overloaded  RateLimited  RequestInProgress
        └── DeadlineExceeded      Unreachable

Each takes one positional message, so that it can be pickled between replicas. Callers are sent it. `internal` is what
only operators may read: addresses, paths and texts of other software. `str` gives both, for logs. `field` names the
request's field that is wrong, such as `documents.2.uri`. `code`, `title` and `retryable` are class attributes;
`retry_after_s` may be set on an instance. Their HTTP statuses are in `serve_app/api/errors.py`.
"""

from __future__ import annotations

from typing import ClassVar, Final


class RagError(Exception):
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None
    """Seconds after which to try again, if known."""

    def __init__(self, message: str, *, field: str | None = None, internal: str = "") -> None:
        super().__init__(f"{message} ({internal})" if internal else message)
        self.message = message
        self.field = field
        self.internal = internal


class BadInput(RagError):
    code = "bad_input"
    title = "Bad input"


class InvalidRequest(BadInput):
    code = "invalid_request"
    title = "Invalid request"


class InvalidFilter(BadInput):
    code = "invalid_filter"
    title = "Invalid filter"


class UnknownCollection(BadInput):
    code = "unknown_collection"
    title = "Unknown collection"


class UnknownModel(BadInput):
    code = "model_not_found"
    title = "Unknown model"


class PromptTooLong(BadInput):
    code = "prompt_too_long"
    title = "Prompt too long"


class EmbedderMismatch(BadInput):
    code = "embedder_mismatch"
    title = "The index was made by another embedding model"


class DocumentTooLarge(BadInput):
    code = "document_too_large"
    title = "Document too large"


class BodyTooSlow(BadInput):
    code = "body_too_slow"
    title = "The body did not arrive in time"


class UnsupportedContent(BadInput):
    code = "unsupported_content"
    title = "Unsupported type or encoding of the body"


class UnsupportedDocument(BadInput):
    code = "unsupported_document"
    title = "Unsupported document type"


class BrokenDocument(BadInput):
    code = "broken_document"
    title = "Document cannot be read"


class NotFound(BadInput):
    code = "not_found"
    title = "Not found"


class Conflict(BadInput):
    code = "conflict"
    title = "In conflict with what is there"


class QuotaExceeded(BadInput):
    code = "quota_exceeded"
    title = "Over the tenant's quota"


class IdempotencyMismatch(BadInput):
    code = "idempotency_mismatch"
    title = "Idempotency key used for another request"


class RangeNotSatisfiable(BadInput):
    code = "range_not_satisfiable"
    title = "The range names no byte"


class Unauthenticated(BadInput):
    code = "unauthenticated"
    title = "Missing or unknown key"


class Forbidden(BadInput):
    code = "forbidden"
    title = "Not allowed"


class TenantSuspended(BadInput):
    code = "tenant_suspended"
    title = "The tenant is suspended"


class Unavailable(RagError):
    code = "unavailable"
    title = "Temporarily unavailable"
    retryable = True


class StageUnavailable(Unavailable):
    code = "stage_unavailable"
    title = "A stage is not available"


class Overloaded(Unavailable):
    code = "overloaded"
    title = "Too many requests at once"


class RateLimited(Unavailable):
    code = "rate_limited"
    title = "Over a limit or a share"


class RequestInProgress(Unavailable):
    code = "request_in_progress"
    title = "The same request is being worked on"


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"
    title = "Deadline exceeded"


class Unreachable(Unavailable):
    code = "unreachable"
    title = "Something outside the service does not answer"


def _codes(error: type[RagError]) -> set[str]:
    return {error.code}.union(*map(_codes, error.__subclasses__()))


ERROR_CODES: Final = tuple(sorted(_codes(RagError)))
"""Of all errors."""
