"""`rag keys`: a tenant's keys. Works on the database directly: the first key cannot come from the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag.cli.errors import CliError

if TYPE_CHECKING:
    from serve_app.platform.keys import Keys
    from serve_app.storage.config import StoreConfig

app = typer.Typer(
    help="Keys of a tenant, made and ended in the database of a config file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
T = TypeVar("T")
TENANT = "default"

Config = Annotated[
    Path | None, typer.Option(help="Config file that names the database; by default cluster/local.yaml.")
]
Tenant = Annotated[str, typer.Option(help="Tenant that the keys belong to; _platform: the platform itself.")]


@app.command()
def create(
    tenant: Tenant = TENANT,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    role: Annotated[
        Literal["admin", "query", "platform"],
        typer.Option(help="query: ask only. admin: also change the tenant's data. platform: manage all tenants."),
    ] = "admin",
    config: Config = None,
) -> None:
    """Make a key, and the tenant if it is new. The key is shown this once."""

    async def make(keys: Keys) -> str:
        from serve_app.platform.tenants import Tenants
        from serve_app.storage.declarative import PLATFORM

        if role != "platform":
            await Tenants(keys.database, keys.events).ensure(tenant)
        secret, _ = await keys.create_key(PLATFORM if role == "platform" else tenant, name or "rag keys create", role)
        return secret

    typer.echo(_with_keys(config, make))


@app.command("list")
def list_(tenant: Tenant = TENANT, config: Config = None) -> None:
    """Show a tenant's keys, without their secrets."""
    found = _with_keys(config, lambda keys: keys.list(tenant))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("id", "role", "begins with", "created", "used", "ends"):
        table.add_column(column, no_wrap=True)
    table.add_column("name", overflow="fold")
    for key in found:
        ends = "revoked" if key.revoked_at else f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never"
        created = f"{key.created_at:%Y-%m-%d %H:%M}"
        used = f"{key.last_used_at:%Y-%m-%d}" if key.last_used_at else "-"
        table.add_row(key.id, key.role, f"rag_{key.prefix}", created, used, ends, escape(key.name))
    Console().print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `rag keys list` shows it.")],
    tenant: Tenant = TENANT,
    config: Config = None,
) -> None:
    """End a key; a running service refuses it within seconds."""
    _with_keys(config, lambda keys: keys.revoke(tenant, key_id))
    typer.echo(f"{key_id} is revoked.")


async def migrate(store: StoreConfig) -> None:
    async with _opened(store):
        pass


async def local_key(store: StoreConfig, key_file: Path, *, of_platform: bool = False) -> None:
    """Migrate, and make sure that the file holds a key that works: of the default tenant, or of the platform."""
    from cluster.node import write_secret
    from deployments.errors import Unauthenticated
    from serve_app.platform.tenants import Tenants
    from serve_app.storage.declarative import PLATFORM

    kept = await asyncio.to_thread(_read, key_file)
    async with _opened(store) as keys:
        if kept is not None:
            try:
                await keys.authenticate(kept)
                return
            except Unauthenticated:
                pass  # the database was removed, or the key revoked
        if of_platform:
            secret, _ = await keys.create_key(PLATFORM, "metrics of a local start", "platform")
        else:
            await Tenants(keys.database, keys.events).ensure(TENANT)
            secret, _ = await keys.create_key(TENANT, "local start", "admin")
        write_secret(key_file, secret)


def _read(key_file: Path) -> str | None:
    return key_file.read_text(encoding="ascii", errors="replace").strip() if key_file.exists() else None


def _with_keys(config: Path | None, work: Callable[[Keys], Awaitable[T]]) -> T:
    from deployments.errors import RagError
    from rag.cli.configs import LOCAL_CONFIG, load_config

    store = load_config(config or LOCAL_CONFIG).args.resolved().store

    async def run() -> T:
        async with _opened(store) as keys:
            return await work(keys)

    try:
        return asyncio.run(run())
    except RagError as error:
        raise CliError(str(error)) from None


@asynccontextmanager
async def _opened(store: StoreConfig) -> AsyncIterator[Keys]:
    """The keys of a database, which is migrated first. Changes go to the audit log."""
    from serve_app.platform import actor
    from serve_app.platform.audit import AuditLog
    from serve_app.platform.events import Events
    from serve_app.platform.keys import Keys
    from serve_app.storage.database import Database

    database = Database(store)
    await database.migrate()
    events = Events((AuditLog(database),))
    actor.act_as(actor.Actor("command line", "system"))
    try:
        yield Keys(database, events, cache_s=0)
        await events.drain()
    finally:
        await events.close()
        await database.close()
