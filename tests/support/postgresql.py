"""A PostgreSQL server of the test run's own, and a PgBouncer in transaction mode before it.

Both listen on sockets in one temporary folder, never on a port; both die with the test run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import text

from serve_app.storage.config import StoreConfig
from serve_app.storage.database import create_engine

USER: Final = "rag"
UNPRIVILEGED: Final = "postgres"
"""Whom Debian's packages make. Neither server runs as root."""
_POSTGRESQL_PORT: Final = 5432
_PGBOUNCER_PORT: Final = 6432
"""Parts of the sockets' names, no more."""
_START_S: Final = 60.0
_STOP_S: Final = 20.0
_END: Final = signal.SIGINT
_REMEDY: Final = "sudo apt install postgresql pgbouncer, or `make test`, which does so as root"

_PGBOUNCER_INI: Final = """\
[databases]
* = host={folder} port={server} user={user}

[pgbouncer]
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


@dataclass(frozen=True, slots=True)
class Servers:
    folder: Path

    def store(self, database: str, *, pooled: bool) -> StoreConfig:
        """The configuration of a database, `pooled` through PgBouncer."""
        port = _PGBOUNCER_PORT if pooled else _POSTGRESQL_PORT
        return StoreConfig(url=f"postgresql://{USER}@/{database}?host={self.folder}&port={port}")

    def create(self, template: str = "template1") -> str:
        """A new database like `template`, which nobody may be using; its name."""
        name = f"test_{uuid4().hex}"
        asyncio.run(self._execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return name

    def drop(self, database: str) -> None:
        asyncio.run(self._execute(f"DROP DATABASE {database} WITH (FORCE)"))

    async def _execute(self, statement: str) -> None:
        engine = create_engine(self.store("postgres", pooled=False), migrating=True)
        async with engine.connect() as server:
            await server.execution_options(isolation_level="AUTOCOMMIT")
            await server.execute(text(statement))
        await engine.dispose()


@contextmanager
def running() -> Iterator[Servers]:
    """Both servers, from start to end. Raises RuntimeError, naming the remedy, where they are not installed."""
    initdb, postgres, pg_isready, pgbouncer = map(_program, ("initdb", "postgres", "pg_isready", "pgbouncer"))
    folder = Path(tempfile.mkdtemp(prefix="rag-sql-"))
    try:
        (folder / "users").write_text(f'"{USER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            _PGBOUNCER_INI.format(folder=folder, server=_POSTGRESQL_PORT, port=_PGBOUNCER_PORT, user=USER)
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, UNPRIVILEGED)
        data = folder / "data"
        made = [initdb, "-D", data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initial = subprocess.run(_unprivileged(made), cwd=folder, capture_output=True, text=True)
        if initial.returncode != 0:
            raise RuntimeError(f"{initdb} failed:\n{initial.stderr}")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "port": _POSTGRESQL_PORT,
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
        }
        server = [postgres, "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        with (
            _process(folder, server, [pg_isready, "-q", "-h", folder, "-p", _POSTGRESQL_PORT, "-d", "postgres"]),
            _process(
                folder,
                [pgbouncer, folder / "pgbouncer.ini"],
                [pg_isready, "-q", "-h", folder, "-p", _PGBOUNCER_PORT, "-d", "postgres", "-U", USER],
            ),
        ):
            yield Servers(folder)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _process(folder: Path, command: Sequence[object], is_ready: Sequence[object]) -> Iterator[None]:
    log = folder / f"{Path(str(command[0])).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _unprivileged(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + _START_S
        while subprocess.run([str(part) for part in is_ready], check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-4_000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(_END)  # PostgreSQL then waits for no client
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unprivileged(command: Sequence[object]) -> list[str]:
    """The command as somebody who is not root, ended by the kernel if this process dies."""
    user = [f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, f"--pdeathsig={_END.name.removeprefix('SIG')}", "--", *(str(part) for part in command)]


def _program(name: str) -> str:
    """Debian keeps a server's programs off the path, one folder for each version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    folders = [*map(str, reversed(versions)), *os.get_exec_path(), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise RuntimeError(f"the tests of the SQL store need {name!r}, which is not installed: {_REMEDY}")
    return found
