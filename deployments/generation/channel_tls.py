"""TLS of the connections that carry answers: Ray's own, where Ray's calls between nodes are encrypted."""

from __future__ import annotations

import os
import ssl

from deployments.errors import StageUnavailable


def is_on() -> bool:
    """As Ray reads it."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def server_context() -> ssl.SSLContext | None:
    """The ingress' side: it asks a replica for a certificate of Ray's authority, as Ray's servers do. None without TLS.

    Raises StageUnavailable if a file cannot be used.
    """
    return _context(ssl.Purpose.CLIENT_AUTH) if is_on() else None


def client_context() -> ssl.SSLContext | None:
    """A replica's side. It accepts an ingress whose certificate has its address, and shows its own."""
    return _context(ssl.Purpose.SERVER_AUTH) if is_on() else None


def _context(purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=os.environ["RAY_TLS_CA_CERT"])
        context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    except KeyError as missing:
        raise StageUnavailable(
            "generation cannot reach the ingress: TLS is not set up", internal=f"RAY_USE_TLS needs {missing}"
        ) from None
    except OSError as error:
        raise StageUnavailable(
            "generation cannot reach the ingress: TLS is not set up", internal=f"a file of RAY_TLS_*: {error}"
        ) from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context
