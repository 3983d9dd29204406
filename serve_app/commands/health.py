"""Is it ready, and what serves."""

from __future__ import annotations

from typing import Any

from serve_app.commands.base import PlatformCommand, command
from serve_app.platform.keys import Principal
from serve_app.schemas.operations import Readiness
from serve_app.services.container import Services


@command("health")
class Health(PlatformCommand):
    """Each stage's state and what serves it, for any key."""

    def allow(self, holder: Principal) -> None:
        """Every key is allowed."""

    async def run(self, services: Services) -> dict[str, Any]:
        return Readiness.of(await services.ask_stages()).as_json()
