from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.errors import Unauthenticated
from rag.cli.keys import local_key
from serve_app.config.file import load
from serve_app.platform.audit import AuditLog
from serve_app.platform.keys import Keys, Principal
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM

LOCAL = Path(__file__).parents[4] / "cluster/local.yaml"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> str:
    """A config whose database lies in the test's folder."""
    file = load(LOCAL).with_data_dir(tmp_path / "var")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(file.raw))
    return str(tmp_path / "config.yaml")


def whose(folder: Path, secret: str) -> Principal:
    async def ask() -> Principal:
        database = Database(StoreConfig(url=f"sqlite:///{folder}/rag.db"))
        try:
            return await Keys(database, cache_s=0).authenticate(secret)
        finally:
            await database.close()

    return asyncio.run(ask())


def test_a_key_is_made_listed_and_ended(rag: Any, config: str, tmp_path: Path) -> None:
    made = rag(
        "keys", "create", "--tenant", "acme", "--name", "phoenix", "--role", "query", "--config", config, url=None
    )
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    principal = whose(tmp_path / "var", secret)
    assert (principal.tenant_id, principal.role) == ("acme", "query")

    listed = rag("keys", "list", "--tenant", "acme", "--config", config, url=None).stdout
    assert secret not in listed
    assert re.search(rf"{principal.key_id} .*query .*{secret[:12]} .*never .*phoenix", listed)

    ended = rag("keys", "revoke", principal.key_id, "--tenant", "acme", "--config", config, url=None)
    assert ended.exit_code == 0
    with pytest.raises(Unauthenticated):
        whose(tmp_path / "var", secret)
    assert "revoked" in rag("keys", "list", "--tenant", "acme", "--config", config, url=None).stdout


def test_a_platform_key_belongs_to_no_tenant(rag: Any, config: str, tmp_path: Path) -> None:
    secret = rag("keys", "create", "--role", "platform", "--config", config, url=None).stdout.strip()
    principal = whose(tmp_path / "var", secret)
    assert (principal.tenant_id, principal.role) == (PLATFORM, "platform")
    assert principal.key_id in rag("keys", "list", "--tenant", PLATFORM, "--config", config, url=None).stdout


def test_what_is_done_here_is_in_the_audit_log(rag: Any, config: str, tmp_path: Path) -> None:
    rag("keys", "create", "--tenant", "acme", "--config", config, url=None)

    async def told() -> list[tuple[str, str]]:
        database = Database(StoreConfig(url=f"sqlite:///{tmp_path}/var/rag.db"))
        entries = (await AuditLog(database).list("acme")).entries
        await database.close()
        return [(entry.actor, entry.action) for entry in entries]

    assert asyncio.run(told()) == [("command line", "key.created"), ("command line", "tenant.created")]


def test_tenants_do_not_see_each_others_keys(rag: Any, config: str) -> None:
    rag("keys", "create", "--tenant", "acme", "--config", config, url=None)
    assert "key_" not in rag("keys", "list", "--tenant", "other", "--config", config, url=None).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["revoke", "key_x"], "Error: key 'key_x' does not exist\n"),
        (["create", "--tenant", "no spaces"], "Error: tenant 'no spaces': use 1 to 64 of"),
    ],
)
def test_refusals_are_one_line(rag: Any, config: str, arguments: list[str], told: str) -> None:
    result = rag("keys", *arguments, "--config", config, url=None)
    assert result.exit_code == 1
    assert result.stderr.startswith(told)


def test_a_broken_config_is_refused(rag: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("application: []\n")
    result = rag("keys", "list", "--config", str(tmp_path / "broken.yaml"), url=None)
    assert result.exit_code == 1
    assert "application: unknown key; did you mean applications?" in result.stderr


def test_the_local_key_is_made_once_and_again_when_it_no_longer_works(tmp_path: Path) -> None:
    store, key_file = StoreConfig(url=f"sqlite:///{tmp_path}/rag.db"), tmp_path / "key"
    asyncio.run(local_key(store, key_file))
    first = key_file.read_text()
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert whose(tmp_path, first) == Principal("default", "admin", whose(tmp_path, first).key_id)

    asyncio.run(local_key(store, key_file))
    assert key_file.read_text() == first

    for database in tmp_path.glob("rag.db*"):
        database.unlink()
    asyncio.run(local_key(store, key_file))
    assert key_file.read_text() != first
    assert whose(tmp_path, key_file.read_text()).tenant_id == "default"
