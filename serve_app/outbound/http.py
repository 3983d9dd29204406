"""HTTP requests on somebody's behalf: to allowed hosts, at addresses that may be reached, past every proxy."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from deployments.errors import InvalidRequest, Unreachable
from serve_app.outbound.addresses import Addresses, AddressRefused
from serve_app.outbound.config import ReachConfig
from serve_app.outbound.names import LookupTimeout, NameLookups

_OWN_PORTS: Final = {"https": 443, "http": 80}
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""The caller sets one time limit for all of its work."""


class Http:
    """Each request has a connection of its own. `resolver` makes what looks names up for a tenant."""

    def __init__(
        self,
        reach: ReachConfig,
        *,
        resolver: Callable[[str], AbstractResolver] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._reach = reach
        self._addresses = Addresses(reach.networks)
        self._resolver = resolver or NameLookups(reach).resolver
        self._tls = tls or ssl.create_default_context()

    def checked(self, url: str) -> URL:
        """The URL as it will be asked. Raises InvalidRequest unless it may be."""
        try:
            parsed = URL(url)
            host, port = parsed.host, parsed.port
        except ValueError:
            raise InvalidRequest("not a valid URL") from None
        schemes = ("https", "http") if self._reach.allow_http else ("https",)
        if parsed.scheme not in schemes:
            raise InvalidRequest(f"begins with {parsed.scheme[:20]}:, but must with {' or '.join(schemes)}:")
        if not host:
            raise InvalidRequest("names no host")
        if parsed.raw_user is not None or parsed.raw_password is not None:
            raise InvalidRequest("holds a user name or password; none can be sent, so take it out")
        if port != _OWN_PORTS[parsed.scheme] and port not in self._reach.ports:
            raise InvalidRequest(f"port {port} is not one that may be asked; leave it out")
        if not any(_names(allowed, host.rstrip(".").lower()) for allowed in self._reach.hosts):
            raise InvalidRequest(f"host {host[:80]!r} is not one that may be asked")
        return parsed.with_fragment(None)

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, tenant_id: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, before its body is read; redirects are answers too, and nothing is decompressed.

        `tenant_id`: on whose behalf it is asked.

        Also what goes wrong while the body is read is raised from here. Raises InvalidRequest, Unreachable.
        """
        target = self.checked(url)
        connector = aiohttp.TCPConnector(
            resolver=self._resolver(tenant_id),
            use_dns_cache=False,
            ssl=self._tls,
            force_close=True,
            happy_eyeballs_delay=None,
            socket_factory=self._addresses.socket,
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    trust_env=False,
                    timeout=_NO_TIMEOUT,
                ) as session,
                session.request(method, target, headers=headers, data=body, allow_redirects=False) as response,
            ):
                yield response
        except aiohttp.InvalidURL:
            raise InvalidRequest("not a valid URL") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(f"{target.host} has a certificate that is not good: {error.certificate_error}") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise InvalidRequest(f"host {target.host!r} may not be asked: {error.os_error}") from None
            raise Unreachable(
                f"{target.host} cannot be reached: {_reason(error.os_error)}", internal=str(error.os_error)
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{target.host} did not answer as HTTP asks: {type(error).__name__}") from error


def _reason(error: OSError) -> str:
    """What went wrong. The text of most errors would also say which address a name has in this network."""
    if isinstance(error, LookupTimeout):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason})"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno) if error.errno else "no connection"


def _names(allowed: str, host: str) -> bool:
    allowed = allowed.rstrip(".").lower()
    return allowed in ("*", host) or (allowed.startswith("*.") and host.endswith(allowed[1:]))
