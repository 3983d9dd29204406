"""The LoRA adapters of one replica, by the names that a configuration gives them.

Ray loads them from folders of `generation.lora.dynamic_lora_loading_path`, an adapter's folder having its name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.errors import StageUnavailable, UnknownModel
from deployments.tasks import spawn_detached

PRELOAD_S = 60.0
"""How long a replica's start may wait for its adapters."""
LOAD_S = 600.0
"""How long an adapter may be loaded in advance. Ray loads one at a time, so others wait for it."""
_PREFIX = "lora:"
_NOT_FOUND = 404
logger = logging.getLogger(__name__)


def ray_id(name: str) -> str:
    """Ray's id of an adapter, by which Serve also finds the replicas that have it loaded.

    Ray takes what follows the first colon for the folder. Without a colon the folder would be the path itself, with
    every adapter in it.
    """
    return f"{_PREFIX}{name}"


class Adapters:
    """`load` has Ray load an adapter by Ray's id. It may be called for one that is loaded."""

    def __init__(self, load: Callable[[str], Awaitable[object]]) -> None:
        self._load = load
        self._loading = set[asyncio.Task[None]]()

    async def load(self, adapter_id: str) -> None:
        """Load an adapter by Ray's id. Raises UnknownModel if its folder is not there, and StageUnavailable."""
        name = adapter_id.removeprefix(_PREFIX)
        try:
            await self._load(adapter_id)
        except Exception as error:
            # Ray raises FastAPI's HTTPException, with its store's address in the text.
            if getattr(error, "status_code", None) == _NOT_FOUND:
                raise UnknownModel(
                    f"model: the adapter {name!r} is not where adapters are kept, or cannot be read there",
                    field="model",
                    internal=str(error),
                ) from None
            raise StageUnavailable(
                f"generation could not load the adapter {name!r}; try again",
                internal=f"{type(error).__name__}: {error}",
            ) from None

    async def preload(self, names: Sequence[str], *, at_most_s: float = PRELOAD_S) -> None:
        """Load adapters before they are asked for, so that no question's first token waits for a download.

        One that takes longer is loaded on in the background. One that fails is logged, and tried again when it is
        asked for.
        """
        for name in names:
            loading = spawn_detached(self._try(name))
            self._loading.add(loading)  # else nothing would keep it once nobody waits for it
            loading.add_done_callback(self._loading.discard)
        if self._loading:
            await asyncio.wait(self._loading, timeout=at_most_s)

    async def _try(self, name: str) -> None:
        try:
            async with asyncio.timeout(LOAD_S):
                await self.load(ray_id(name))
        except (UnknownModel, StageUnavailable, TimeoutError) as error:
            logger.warning("an adapter was not loaded in advance: %s", str(error) or type(error).__name__)
