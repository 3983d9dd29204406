from __future__ import annotations

from typing import Literal

from pydantic import Field

from deployments.config import Config


class PromptConfig(Config):
    order: Literal["best_first", "free", "rank"] = Field(
        "best_first",
        description="order of passages in a prompt: the best one first and the others as the prefix cache has them, "
        "all as it has them, or all by rank. Engines without a prefix cache get them by rank",
    )
    max_tenants: int = Field(64, ge=1, description="tenants whose prompts one ingress replica remembers")
    max_passages: int = Field(8_192, ge=1, description="passages of one tenant's prompts that it remembers in all")
