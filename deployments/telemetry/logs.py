"""What the service logs of requests: each field is declared here and nowhere else."""

from __future__ import annotations

REQUEST_LOG = "ray.serve.requests"
"""The logger of requests. Below Serve's own it writes to the replica's log file, in Serve's encoding."""
LOG_FIELDS = {
    "http_route": "the route with its parameters' names, or `none`",
    "http_method": "the method",
    "http_status": "the status; 499: the caller hung up before the answer began",
    "milliseconds": "time until the last byte of the answer",
    "rag_request_id": "`X-Request-ID`",
    "query_id": "`X-Query-ID`, where the request asked a question",
    "trace_id": "the trace's id, which `traceparent` of the answer has too",
    "tenant": "the tenant of the key, or the one that a platform key names in `X-Tenant-ID`",
    "key_id": "the key's id",
    "error": "the error's code, where the request was refused or failed",
}
"""The fields of a request's line in the log. A line lacks those that it has no value for."""
