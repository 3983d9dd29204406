"""HAProxy in front of the service (RAY_SERVE_ENABLE_HA_PROXY=1), with limits on silence and our own errors.

Serve writes HAProxy's configuration and has no setting for these. Its controller calls `install` if
RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names it, as `cluster.node` and Dockerfile.gpu do; it then controls HAProxy
with the class below. Answers of the service pass unchanged.
"""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

from ray.serve._private import haproxy
from ray.serve._private.constants import RAY_SERVE_PORT_QUARANTINE_S

from deployments.errors import Unavailable

UNAVAILABLE_DETAIL = "no replica of the service takes requests at the moment; try again"
NO_APPLICATION = """backend default_backend
    http-request return status 404 content-type text/plain """
"""What Serve's template answers while there is no application."""
REUSE_CONNECTIONS = """    # Enable HTTP connection reuse for better performance
    http-reuse always
"""
ONE_REQUEST_PER_CONNECTION = """    option http-server-close
    option http-pretend-keepalive
"""
"""Each request gets a connection of its own to a replica. When a reused connection breaks, HAProxy assumes that it
ended between two requests: it closes the client's connection without an error page or a log entry. The replica is not
told to close, because the HTTP edge lingers until a refusal is read."""
CLIENT_ADDRESS = """    option forwardfor
"""
"""Tells a replica the client's address, by which unknown keys are limited. It comes last, and a replica believes the
last address that is no load balancer's (FORWARDED_ALLOW_IPS). So what the client says of itself does not matter."""
FRONTEND_BIND = re.compile(r"^frontend http_frontend\n    bind \S+", re.MULTILINE)
DRAIN_MARGIN_S = 30
"""Each change of replicas starts a new HAProxy. The old one stays this much longer than the longest request may last.
(Serve's default is two minutes in all.)"""
QUARANTINE_MARGIN_S = 30
"""A stopped replica's port must stay unused this much longer than the old HAProxy runs; Ray has the same margin.
The old one goes on sending requests to that port, and another replica may listen there by then."""
QUARANTINE = "RAY_SERVE_PORT_QUARANTINE_S"
"""Serve's variable for that time; its default fits Serve's own time for the old HAProxy, two minutes."""
NO_APPLICATION_503 = """backend default_backend
    http-request deny deny_status 503
    # """
logger = logging.getLogger(__name__)


def quarantine_s(request_timeout_s: float) -> int:
    """The least that Serve's `QUARANTINE` may be where a request may last so long."""
    return math.ceil(request_timeout_s) + DRAIN_MARGIN_S + QUARANTINE_MARGIN_S


def install() -> None:
    """Serve's callback, in its controller."""
    haproxy.HAProxyApi = EdgeHAProxyApi


class EdgeHAProxyApi(haproxy.HAProxyApi):
    """Serve's control of one HAProxy, with our additions to its configuration."""

    def _initialize_directories_and_error_files(self) -> None:
        super()._initialize_directories_and_error_files()
        # Serve has HAProxy answer 500 in place of 502, 503 and 504. A client takes that as not worth a retry.
        Path(self.cfg.error_file_path).write_bytes(error_page())
        silence_s = self.cfg.http_options.keep_alive_timeout_s
        self.cfg.timeout_client_s = silence_s
        self.cfg.timeout_http_request_s = silence_s
        request_timeout_s = self.cfg.http_options.request_timeout_s
        max_connection_s = None if request_timeout_s is None else math.ceil(request_timeout_s) + DRAIN_MARGIN_S
        self.cfg.hard_stop_after_s = max_connection_s
        _warn_of_short_quarantine(request_timeout_s)
        # HAProxy loses track of some clients that keep sending a body after the refusal; this ends their connections.
        self.cfg.timeout_server_s = max_connection_s

    def _generate_config_file_internal(self) -> None:
        super()._generate_config_file_internal()
        path = Path(self.config_file_path)
        config = (
            path.read_text()
            .replace(NO_APPLICATION, NO_APPLICATION_503)
            .replace(REUSE_CONNECTIONS, ONE_REQUEST_PER_CONNECTION + CLIENT_ADDRESS)
        )
        # HAProxy's own timer for a silent client starts only when the kernel's buffers are full, megabytes later.
        path.write_text(FRONTEND_BIND.sub(rf"\g<0> tcp-ut {self.cfg.timeout_client_s}s", config))


def _warn_of_short_quarantine(request_timeout_s: float | None) -> None:
    if request_timeout_s is None or (needed_s := quarantine_s(request_timeout_s)) <= RAY_SERVE_PORT_QUARANTINE_S:
        return
    logger.warning(
        "%s is %g: after a change of replicas, requests may reach one that took over the port of another. "
        "Set it to %d or more on every node before Ray starts, or lower http_options.request_timeout_s",
        QUARANTINE,
        RAY_SERVE_PORT_QUARANTINE_S,
        needed_s,
    )


def error_page() -> bytes:
    """HAProxy's own answer when there is no replica, none accepts a connection, or one broke off."""
    # Imported here: the controller imports this module even without HAProxy, and should not wait for the API's imports.
    from serve_app.api.errors import RETRY_AFTER_S, STATUS

    status = STATUS[Unavailable]
    problem = {
        "type": f"/errors/{Unavailable.code}",
        "title": Unavailable.title,
        "status": status,
        "detail": UNAVAILABLE_DETAIL,
        "code": Unavailable.code,
        "retryable": Unavailable.retryable,
        "request_id": None,
    }
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} Service Unavailable",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_AFTER_S}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body
