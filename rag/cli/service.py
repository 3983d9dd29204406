"""The commands' HTTP client of the service. Every failure is one line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import httpx
import typer

from rag.cli.errors import CliError
from rag.cli.service_file import RunningService
from serve_app.config.paths import HOME

Url = Annotated[str | None, typer.Option(help="Address of the service; by default the one on this machine.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="RAG_API_KEY", show_envvar=True, help="Key to use; by default that of the local service."),
]
DataDir = Annotated[Path, typer.Option(help="Data folder of the local service.")]
Language = Annotated[
    Literal["hr", "en"] | None, typer.Option(help="Language of the text; by default it is taken from the text.")
]
DATA_DIR = HOME / "var"

_TIMEOUT = httpx.Timeout(120, connect=5)
"""Seconds for each read and write, and for the connection."""
STREAM_SILENCE_S = 30
"""The service sends a heartbeat every few seconds, so a longer silence means that it is gone."""
_ATTEMPTS = 4
MAX_RETRY_S = 10.0
"""Longest wait before another attempt, even if the service asks for a longer one."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Refused(CliError):
    """The service answered with an error. `status` is HTTP's, and after `retry_after_s` a retry may succeed."""

    def __init__(self, message: str, status: int, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a service and the key to it. Raises CliError for an invalid one."""

    url: str
    key: str | None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise CliError(f"--url {self.url!r} is not an address like http://127.0.0.1:8000")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise CliError("the key holds characters that no key has; check --key")

    def options(self) -> dict[str, Any]:
        """Keyword arguments for an httpx client of this service."""
        url = self.url.rstrip("/")
        is_local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        return {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {self.key}"} if self.key else {},
            # Without TLS there is nothing to verify, and to load the machine's certificates takes a while.
            "verify": url.startswith("https:"),
            "trust_env": not is_local,  # the environment may name a proxy, which must not be asked for this machine
        }


class Service:
    """An HTTP client of one service; to be closed by `with`."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        address = Address(url, key)
        self.url = url.rstrip("/")
        self.http = httpx.Client(timeout=_TIMEOUT, transport=transport, **address.options())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The JSON of a successful answer. Retries while the service is overloaded. Raises Refused or CliError."""
        for attempt in range(_ATTEMPTS):
            with self.reachable():
                response = self.http.request(method, path, **request)
            if response.status_code != 503 or attempt + 1 == _ATTEMPTS:
                break
            time.sleep(_retry_after(response))
        self.check(response)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CliError(f"{self.url} answered something that is not this service's; check --url")
        return found

    def check(self, response: httpx.Response) -> None:
        """Raises Refused, with the reason that the service gives, unless the answer is a success."""
        if response.is_success:
            return
        response.read()
        try:
            problem = response.json()
            title, detail = problem["title"], problem["detail"]
        except (ValueError, KeyError, TypeError):
            title, detail = f"the service answered {response.status_code}", response.reason_phrase
        hint = "; give it with --key or RAG_API_KEY" if response.status_code == 401 else ""
        raise Refused(f"{plain(str(title))}: {plain(str(detail))}{hint}", response.status_code, _retry_after(response))

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Turns connection errors inside the block into a CliError of one line."""
        try:
            yield
        except httpx.ConnectError:
            raise CliError(
                f"no service answers at {self.url}; start one with `rag up`, or name another with --url"
            ) from None
        except httpx.TimeoutException:
            raise CliError(f"the service at {self.url} is silent; look at `rag status` and the Ray dashboard") from None
        except httpx.TransportError as error:
            raise CliError(
                f"the connection to {self.url} broke off ({str(error) or type(error).__name__}); try again"
            ) from None


def connect(context: typer.Context, url: str | None, key: str | None, data_dir: Path) -> Service:
    """A client of the service that the options name, or of the one on this machine.

    Tests put a transport in `context.obj`.
    """
    address = locate(url, key, data_dir)
    return Service(address.url, address.key, context.obj)


def locate(url: str | None, key: str | None, data_dir: Path) -> Address:
    """The address that the options name, or that of the service on this machine. Raises CliError."""
    if url is None:
        running = RunningService.read(data_dir)
        if running is None or not running.alive():
            raise CliError(
                f"no service runs from {data_dir}; start one with `rag up`, or name another with --url or --data-dir"
            )
        url = running.url
        if key is None and running.key_file is not None:
            key = _read_key(Path(running.key_file))
    return Address(url, key)


def plain(text: str) -> str:
    """The service's text without the control characters that a terminal would obey. Tabs and line breaks stay."""
    return _CONTROL.sub("", text)


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise CliError(f"the key file {path} cannot be read; give the key with --key or RAG_API_KEY") from None


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait before another attempt."""
    given = response.headers.get("Retry-After", "")
    return min(float(given), MAX_RETRY_S) if given.isdecimal() else 1.0
