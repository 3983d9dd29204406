from __future__ import annotations

from typing import Literal

from pydantic import Field

from deployments.config import Config


class QueryConfig(Config):
    """What an answer's sources are made of, and what becomes of its statements that they do not support."""

    max_section_characters: int = Field(
        3_000,
        ge=0,
        description="characters of an article up to which it is one source, where it was cut into several passages; "
        "0: sources are passages",
    )
    sections_s: float = Field(
        1.0, gt=0, description="seconds that reading whole articles may take; after them the sources are passages"
    )

    unsupported: Literal["keep", "mark", "refuse"] = Field(
        "mark",
        description="keep: answers are not checked. mark: citation messages and complete.grounding say which "
        "statements their sources support. refuse: an answer is also held back until it is whole, and withheld if too "
        "few are supported",
    )
    supported_from: float = Field(
        0.5, ge=0, le=1, description="refuse: the share of an answer's statements that must be supported"
    )
    max_checked_statements: int = Field(200, ge=1, description="statements of one answer that are checked")
    max_checked_characters: int = Field(20_000, ge=1, description="characters of one answer that are checked")


class PromptConfig(Config):
    order: Literal["best_first", "free", "rank"] = Field(
        "best_first",
        description="order of passages in a prompt: the best one first and the others as the prefix cache has them, "
        "all as it has them, or all by rank. Engines without a prefix cache get them by rank",
    )
    max_tenants: int = Field(64, ge=1, description="tenants whose prompts one ingress replica remembers")
    max_passages: int = Field(8_192, ge=1, description="passages of one tenant's prompts that it remembers in all")
