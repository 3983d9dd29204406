"""HAProxy in front of the service (RAY_SERVE_ENABLE_HA_PROXY=1), with bounds on silence and words of the service's own.

Serve writes HAProxy's configuration and has no setting for these. Its controller calls `install` if
RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names it, as `cluster.node` and Dockerfile.gpu do, and from then on starts its
keeper of HAProxy with the class below. What answers of the service's pass through is untouched by all this.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from ray.serve._private import haproxy

from deployments.errors import Unavailable

DETAIL = "no replica of the service takes requests at the moment; try again"
NO_APPLICATION = """backend default_backend
    http-request return status 404 content-type text/plain """
"""What the template answers as long as no application is there."""
REUSE = """    # Enable HTTP connection reuse for better performance
    http-reuse always
"""
ONE_REQUEST_EACH = """    option http-server-close
    option http-pretend-keepalive
"""
"""A connection to a replica for each request. Where one that had been used before breaks off, HAProxy takes it for one
that had ended between two requests: the client is left with a closed connection, without a page, and so is the log.
The replica is not told, or it would close at once where the door lingers for a refusal to be read."""
CLIENTS = re.compile(r"^frontend http_frontend\n    bind \S+", re.MULTILINE)
AFTER_LAST_S = 30
"""How much longer than any request may last an old HAProxy stays with those that it has, after each change of replicas.
(Serve's own choice is two minutes in all.)"""
UNAVAILABLE = """backend default_backend
    http-request deny deny_status 503
    # """


def install() -> None:
    """Serve's callback, in its controller."""
    haproxy.HAProxyApi = Api


class Api(haproxy.HAProxyApi):
    def _initialize_directories_and_error_files(self) -> None:
        super()._initialize_directories_and_error_files()
        # Serve has HAProxy say 500 where it would say 502, 503 or 504, and to a caller that is not to be tried again.
        Path(self.cfg.error_file_path).write_bytes(error_page())
        silence_s = self.cfg.http_options.keep_alive_timeout_s
        self.cfg.timeout_client_s = silence_s
        self.cfg.timeout_http_request_s = silence_s
        longest_s = self.cfg.http_options.request_timeout_s
        over_s = None if longest_s is None else math.ceil(longest_s) + AFTER_LAST_S
        self.cfg.hard_stop_after_s = over_s
        # Without one it may hold for ever who goes on sending a body after its refusal: it forgets some of those.
        self.cfg.timeout_server_s = over_s

    def _generate_config_file_internal(self) -> None:
        super()._generate_config_file_internal()
        path = Path(self.config_file_path)
        written = path.read_text().replace(NO_APPLICATION, UNAVAILABLE).replace(REUSE, ONE_REQUEST_EACH)
        # Its own time for a silent client begins when the kernel holds no more for him, which is megabytes later.
        path.write_text(CLIENTS.sub(rf"\g<0> tcp-ut {self.cfg.timeout_client_s}s", written))


def error_page() -> bytes:
    """What HAProxy sends where it answers itself: no replica, none that can be connected to, one that broke off."""
    # The controller imports this module whether or not HAProxy runs, and need not wait for the API's imports.
    from serve_app.api.errors import RETRY_AFTER_S, STATUS

    status = STATUS[Unavailable]
    problem = {
        "type": f"/errors/{Unavailable.code}",
        "title": Unavailable.title,
        "status": status,
        "detail": DETAIL,
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
